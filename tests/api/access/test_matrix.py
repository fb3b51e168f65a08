"""Every route and every channel against every role, generated from what the application itself declares."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import websockets
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from api.access.needs import declarations, needs
from api.access.ports import Access
from api.access.scopes import OPEN, ROLES, SCOPES
from api.feed.channels import CHANNELS
from schemas.errors import AccessError
from tests.api.access.keys import Keys
from tests.api.fakes import FeedClient, World, client_of, serving
from tests.api.whole import whole

WHO = (None, "tk_nobody", *(f"tk_{role}" for role in ROLES))


def guarded() -> World:
    """An API that lets nobody in without a key."""
    return whole(Path(mkdtemp(prefix="tickwire-")), Access(Keys()))


APP = guarded().app()
ROUTES = [(each.path, method, each.scope) for each in declarations(APP) for method in sorted(each.methods)]
DOCUMENT: Any = APP.openapi()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(APP) as found:
        yield found


def asked(client: TestClient, path: str, method: str, key: str | None) -> int:
    path = path.replace("{delivery}", "7")
    for name in ("symbol", "name", "version", "kind", "rest", "rule", "endpoint"):
        path = path.replace(f"{{{name}}}", "SIMA").replace(f"{{{name}:path}}", "SIMA")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.request(method, path, headers=headers).status_code


def expected(scope: str, key: str | None) -> int | None:
    """The refusal that is due; None where the caller is let in."""
    if scope == OPEN:
        return None
    if key is None or key == "tk_nobody":
        return 401
    return None if scope in ROLES[key.removeprefix("tk_")] else 403


@pytest.mark.parametrize("key", WHO)
@pytest.mark.parametrize(("path", "method", "scope"), ROUTES)
def test_a_route_lets_in_whom_its_scope_says_and_nobody_else(
    client: TestClient, path: str, method: str, scope: str, key: str | None
) -> None:
    status = asked(client, path, method, key)
    due = expected(scope, key)
    assert status == due if due is not None else status not in {401, 403}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_openapi_says_for_every_operation_who_may_call_it(client: TestClient, path: str, method: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    (scope,) = {scope for way in operation.get("security", [{"": [OPEN]}]) for some in way.values() for scope in some}
    for key in WHO:
        due = expected(scope, key)
        status = asked(client, path, method, key)
        assert status == due if due is not None else status not in {401, 403}
        assert due is None or str(due) in operation["responses"]


def test_openapi_leaves_out_no_guarded_route_but_the_other_protocol_s() -> None:
    told = {(path, method.upper()) for path, method in OPERATIONS}
    left = {path for path, method, scope in ROUTES if scope != OPEN and (path, method) not in told}
    assert all(path.startswith("/v2/") for path in left)


@pytest.mark.parametrize("scope", SCOPES)
def test_somebody_has_every_scope_and_nobody_but_admins_has_all(scope: str) -> None:
    assert scope in ROLES["admin"]
    assert [role for role, scopes in ROLES.items() if scopes == frozenset(SCOPES)] == ["admin"]


def test_each_role_has_what_the_one_before_has_and_more() -> None:
    chain = [ROLES[role] for role in ("viewer", "analyst", "operator", "admin")]
    assert all(less < more for less, more in pairwise(chain))


@pytest.mark.parametrize("kind", ["route", "websocket", "mount"])
def test_a_route_without_a_scope_makes_no_application(kind: str) -> None:
    app, router = FastAPI(docs_url=None, redoc_url=None), APIRouter()
    if kind == "route":
        router.add_api_route("/new", lambda: {})
    elif kind == "websocket":
        router.add_api_websocket_route("/new", lambda websocket: None)  # type: ignore[arg-type,return-value]
    else:
        app.mount("/new", FastAPI())
    app.include_router(router)
    with pytest.raises(AccessError, match="route /new: expected one declared scope, found none"):
        list(declarations(app))


def test_a_scope_that_does_not_exist_cannot_be_declared() -> None:
    with pytest.raises(AccessError, match="was 'market:raed'"):
        needs("market:raed")


@pytest.mark.parametrize("role", ROLES)
def test_a_channel_is_heard_by_the_roles_that_have_its_scope_and_by_no_other(role: str) -> None:
    heard = {name for name, channel in CHANNELS.items() if channel.scope in ROLES[role]}

    async def conversation(address: str) -> None:
        async with client_of(address, additional_headers={"X-API-Key": f"tk_{role}"}) as client:
            ack = await client.subscribe(*CHANNELS)
            assert ack["subscriptions"].keys() == heard
            assert {(each["code"], each["channel"]) for each in ack["rejected"]} == {
                ("forbidden_channel", name) for name in CHANNELS.keys() - heard
            }

    with serving(guarded()) as (address, _):
        asyncio.run(conversation(address))


def test_a_channel_whose_scope_the_role_lacks_is_rejected_and_never_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROLES, "viewer", frozenset({"market:read"}))

    async def conversation(address: str) -> None:
        async with websockets.connect(
            f"ws://{address}/v1/stream", compression=None, additional_headers={"X-API-Key": "tk_viewer"}
        ) as socket:
            client = FeedClient(socket)
            channels = (await client.next())["channels"]
            assert "bars" in channels
            assert not {"predictions", "outcomes", "alerts"} & set(channels)
            ack = await client.subscribe("predictions", "bars", "nonsense")
            assert ack["subscriptions"] == {"bars": ["*"]}
            assert ack["rejected"] == [
                {"code": "forbidden_channel", "channel": "predictions"},
                {"code": "unknown_channel", "channel": "nonsense"},
            ]

    with serving(guarded()) as (address, _):
        asyncio.run(conversation(address))
