"""Who may open the feed: header, subprotocol or first message, and out again when the key ends."""

import asyncio
import threading
import time
from typing import Any

import pytest
import websockets

from api.access.ports import Access, Principal
from api.feed import entry
from api.feed.messages import AUTH_TOO_LATE, KEY_ENDED, UNAUTHENTICATED
from tests.api.access.keys import Keys
from tests.api.fakes import FeedClient, World, client_of, serving


def guarded() -> tuple[World, Keys]:
    keys = Keys()
    return World(access=Access(keys)), keys


def connecting(address: str, **options: Any) -> Any:
    return websockets.connect(f"ws://{address}/v1/stream", compression=None, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"Authorization": "Bearer tk_viewer"}},
        {"additional_headers": {"Authorization": "bearer token-viewer"}},
        {"additional_headers": {"X-API-Key": "tk_viewer"}},
        {"subprotocols": ["tickwire.v1.json", "tickwire.key.tk_viewer"]},
    ],
)
def test_a_key_in_the_handshake_opens_the_feed_and_is_never_sent_back(options: dict[str, Any]) -> None:
    async def conversation(address: str) -> None:
        async with client_of(address, **options) as client:
            assert client.socket.subprotocol == ("tickwire.v1.json" if "subprotocols" in options else None)
            assert "viewer" not in str(client.socket.response)
            assert (await client.subscribe("bars"))["subscriptions"] == {"bars": ["*"]}

    with serving(guarded()[0]) as (address, _):
        asyncio.run(conversation(address))


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"Authorization": "Bearer tk_nobody"}},
        {"additional_headers": {"Authorization": "Basic tk_viewer"}},
        {"additional_headers": {"Authorization": "Bearer "}},
        {"additional_headers": {"Authorization": "Bearer " + "x" * 5_000}},
        {"additional_headers": [("X-API-Key", "tk_viewer"), ("X-API-Key", "tk_admin")]},
        {"subprotocols": ["tickwire.v1.json", "tickwire.key.tk_nobody"]},
        {"subprotocols": ["tickwire.v1.json", "tickwire.key."]},
    ],
)
def test_a_handshake_with_a_bad_key_is_refused_before_it_is_accepted(options: dict[str, Any]) -> None:
    async def conversation(address: str) -> None:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connecting(address, **options)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["www-authenticate"].startswith("Bearer")

    with serving(guarded()[0]) as (address, _):
        asyncio.run(conversation(address))


def test_the_first_message_may_show_the_key_and_nothing_is_said_before() -> None:
    async def conversation(address: str) -> None:
        async with connecting(address) as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.2)
            await socket.send('{"op":"auth","key":"tk_viewer"}')
            assert (await FeedClient(socket).next())["type"] == "welcome"

    with serving(guarded()[0]) as (address, _):
        asyncio.run(conversation(address))


@pytest.mark.parametrize(
    "first",
    ['{"op":"auth","key":"tk_nobody"}', '{"op":"subscribe","channels":["bars"],"symbols":["*"]}', "[", b"\xff", b"{}"],
)
def test_any_other_first_message_ends_the_connection(first: str | bytes) -> None:
    async def conversation(address: str) -> None:
        async with connecting(address) as socket:
            await socket.send(first)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (UNAUTHENTICATED, "unauthenticated")

    with serving(guarded()[0]) as (address, _):
        asyncio.run(conversation(address))


def test_who_says_nothing_is_sent_away_and_only_so_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "AUTH_WITHIN_S", 0.5)
    monkeypatch.setattr(entry, "MAX_WAITING", 1)

    async def conversation(address: str) -> None:
        async with connecting(address) as silent:
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connecting(address)
            assert refused.value.response.status_code == 503
            async with connecting(address, additional_headers={"X-API-Key": "tk_viewer"}) as welcome:
                await welcome.recv()
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await silent.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (AUTH_TOO_LATE, "auth_too_late")

    with serving(guarded()[0]) as (address, _):
        asyncio.run(conversation(address))


def test_a_good_key_that_a_stalled_server_judges_too_late_is_not_called_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "AUTH_WITHIN_S", 0.2)
    of, keys = guarded()
    goes_on = threading.Event()

    def stalled(credential: str) -> Principal | None:
        goes_on.wait(10)
        return Keys().identify(credential)

    monkeypatch.setattr(keys, "identify", stalled)

    async def conversation(address: str) -> None:
        async with connecting(address) as socket:
            await socket.send('{"op":"auth","key":"token-viewer"}')
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            goes_on.set()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (AUTH_TOO_LATE, "auth_too_late")
            async with connecting(address) as again:
                await again.send('{"op":"auth","key":"token-viewer"}')
                assert (await FeedClient(again).next())["type"] == "welcome"

    with serving(of) as (address, _):
        asyncio.run(conversation(address))


def test_a_key_that_is_taken_away_ends_its_open_connections_within_seconds_and_no_other() -> None:
    of, keys = guarded()

    async def conversation(address: str) -> None:
        async with (
            client_of(address, additional_headers={"X-API-Key": "tk_viewer"}) as client,
            client_of(address, additional_headers={"X-API-Key": "tk_admin"}) as other,
        ):
            keys.gone.add("tk_viewer")
            began = time.monotonic()
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await client.next()
            assert time.monotonic() - began < 3
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (KEY_ENDED, "key_ended")
            assert (await other.subscribe("bars"))["type"] == "ack"

    with serving(of) as (address, _):
        asyncio.run(conversation(address))
    assert b'tickwire_feed_closed_total{reason="key_ended"} 1.0' in of.telemetry.exposition()
