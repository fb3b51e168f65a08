"""Endpoints and deliveries by REST, over a real outbox."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from infra.clock import WallClock
from infra.hooks.channel import failed
from infra.hooks.desk import Desk
from infra.hooks.messages import message_of
from infra.hooks.opened import HookStore, open_store
from infra.hooks.outbox import Put
from infra.settings import Hooks
from tests.api.fakes import World
from tests.api.whole import OnceDict
from tests.infra.hooks.alerts import alert

JSON = {"content-type": "application/json"}
CLOCK = WallClock()


@dataclass
class Served:
    """The API over an outbox, and the outbox as the delivery process has it."""

    client: TestClient
    store: HookStore

    def post(self, path: str, body: object = None, **more: Any) -> Any:
        content = b"" if body is None else msgspec.json.encode(body)
        return self.client.post(path, content=content, headers=JSON, **more)

    def add(self, target: str = "https://example.com/in", **fields: object) -> Any:
        answer = self.post("/v1/alerts/endpoints", {"target": target, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def put(self, *numbers: int) -> None:
        now = CLOCK.now_ns()
        with self.store.database.transaction():
            self.store.outbox.put([Put(message_of(alert(number)), "r", now) for number in numbers], now)

    def fail(self, endpoint: str) -> None:
        """The next delivery becomes a dead letter."""
        (due,) = self.store.outbox.due(endpoint, CLOCK.now_ns(), 1, ())
        with self.store.database.transaction():
            self.store.outbox.record(due, failed("down", 503), CLOCK.now_ns(), 0.1, None)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    store = open_store(tmp_path)
    with TestClient(World(more={"hooks": Desk(tmp_path, Hooks(), CLOCK), "once": OnceDict()}).app()) as client:
        yield Served(client, store)
    store.database.close()


def test_an_endpoint_is_added_listed_and_removed_and_its_secret_is_told_once(served: Served) -> None:
    added = served.add(description="desk", rules=["rsi"], concurrency=4)
    assert added["secret"].startswith("whsec_")
    listed = served.client.get("/v1/alerts/endpoints")
    assert listed.json()["data"] == [added["endpoint"]]
    assert "whsec_" not in listed.text
    assert listed.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\.\d{9}Z", added["endpoint"]["created"])
    path = f"/v1/alerts/endpoints/{added['endpoint']['id']}"
    assert served.client.delete(path).status_code == 204
    assert served.client.get("/v1/alerts/endpoints").json() == {"data": []}
    assert served.client.delete(path).json()["type"] == "/problems/unknown-endpoint"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"target": "http://example.com/"}, "expected https"), ({"target": "https://user@example.com/"}, "no user"),
        ({"target": "https://0x7f.1/"}, "four decimal"),
        ({"target": "a@example.com", "channel": "mail"}, "TICKWIRE_HOOKS__SMTP_URL"),
        ({}, "target"), ({"target": "https://example.com/", "secret": "x"}, "unknown field"), ([], "object"),
        ({"target": "https://example.com/", "concurrency": 99}, "<= 16"), ({"target": 1}, "str"),
        ({"target": "arn:aws:sns:x", "channel": "sns"}, "TICKWIRE_HOOKS__AWS_REGION"), ({"target": "x", "channel": "fax"}, "fax"),
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused_with_the_reason(served: Served, body: object, said: str) -> None:
    answer = served.post("/v1/alerts/endpoints", body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert served.store.endpoints.all() == []


def test_a_change_wants_json_so_that_no_other_page_can_ask_for_it(served: Served) -> None:
    endpoint = served.add()["endpoint"]["id"]
    for path in ("", f"/{endpoint}/ping", f"/{endpoint}/rotate", f"/{endpoint}/replay", f"/{endpoint}/enable"):
        answer = served.client.post(
            f"/v1/alerts/endpoints{path}", content=b"{}", headers={"content-type": "text/plain"}
        )
        assert answer.status_code == 415, path
    assert served.store.log.page() == []


def test_a_secret_is_rotated_with_an_overlap(served: Served) -> None:
    added = served.add()
    endpoint = added["endpoint"]["id"]
    rotated = served.post(f"/v1/alerts/endpoints/{endpoint}/rotate?overlap_hours=2").json()
    assert rotated["secret"] != added["secret"]
    assert served.store.endpoints.keys(endpoint, CLOCK.now_ns()) == (rotated["secret"], added["secret"])
    assert rotated["old_valid_until"] is not None
    assert served.post(f"/v1/alerts/endpoints/{endpoint}/rotate?overlap_hours=9999").status_code == 422


def test_deliveries_are_paged_filtered_and_shown_with_body_and_answers(served: Served) -> None:
    one, two = served.add()["endpoint"]["id"], served.add()["endpoint"]["id"]
    served.put(0, 1, 2)
    served.fail(one)
    seen, cursor = [], None
    while True:
        page = served.client.get(
            "/v1/alerts/deliveries", params={"limit": 4, **({"cursor": cursor} if cursor else {})}
        ).json()
        seen += [each["id"] for each in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 6
    (dead,) = served.client.get("/v1/alerts/deliveries", params={"state": "dead"}).json()["data"]
    assert (dead["endpoint"], dead["tries"], dead["message"]) == (one, 1, message_of(alert(0)).id)
    assert len(served.client.get("/v1/alerts/deliveries", params={"endpoint": two}).json()["data"]) == 3
    details = served.client.get(f"/v1/alerts/deliveries/{dead['id']}").json()
    assert details["body"] == message_of(alert(0)).body.decode()
    assert [(each["outcome"], each["status"], each["detail"]) for each in details["attempts"]] == [
        ("failed", 503, "down")
    ]
    assert served.client.get("/v1/alerts/deliveries/999999").status_code == 404
    for wrong in ({"state": "lost"}, {"cursor": "x"}, {"limit": 0}):
        assert served.client.get("/v1/alerts/deliveries", params=wrong).status_code == 422  # type: ignore[arg-type]


def test_one_or_all_are_replayed_and_a_ping_is_put_into_the_outbox(served: Served) -> None:
    endpoint = served.add()["endpoint"]["id"]
    served.put(0, 1)
    served.fail(endpoint)
    served.fail(endpoint)
    first, second = sorted(each.id for each in served.store.log.page(state="dead"))
    assert served.post(f"/v1/alerts/deliveries/{first}/replay").json() == {"deliveries": 1, "delivery": first}
    assert [each.id for each in served.store.log.page(state="pending")] == [first]
    assert served.post(f"/v1/alerts/endpoints/{endpoint}/replay").json() == {"deliveries": 1, "delivery": None}
    assert [each.id for each in served.store.log.page(state="pending")] == [second, first]
    assert served.post(f"/v1/alerts/endpoints/{endpoint}/replay?since=soon").status_code == 422
    ping = served.post(f"/v1/alerts/endpoints/{endpoint}/ping").json()["delivery"]
    assert served.store.log.details(ping).delivery.message.startswith("ping-")


@pytest.mark.parametrize("what", ["replay", "ping"])
def test_an_endpoint_that_was_disabled_is_enabled_before_anything_is_sent_there(served: Served, what: str) -> None:
    endpoint = served.add()["endpoint"]["id"]
    with served.store.database.transaction():
        served.store.outbox.disable(endpoint, "it answered 410 Gone", CLOCK.now_ns())
    refused = served.post(f"/v1/alerts/endpoints/{endpoint}/{what}")
    assert refused.status_code == 422
    assert "410 Gone" in refused.json()["detail"]
    assert served.post(f"/v1/alerts/endpoints/{endpoint}/enable").json()["data"][0]["disabled"] == ""
    assert served.post(f"/v1/alerts/endpoints/{endpoint}/{what}").is_success


def test_an_outbox_that_cannot_be_read_is_a_problem_that_tells_no_path(served: Served) -> None:
    served.store.database.changed("DROP TABLE attempts")
    served.store.database.changed("DROP TABLE deliveries")
    answer = served.client.get("/v1/alerts/deliveries")
    assert answer.status_code == 503
    assert "sqlite" not in answer.text


def test_every_route_is_described_and_every_reference_leads_somewhere(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    found = {path: methods for path, methods in document["paths"].items() if path.startswith("/v1/alerts/")}
    assert sum(len(methods) for methods in found.values()) == 10
    names = set(re.findall(r"#/components/schemas/(\w+)", msgspec.json.encode(document).decode()))
    assert names <= document["components"]["schemas"].keys()
    for methods in found.values():
        for operation in methods.values():
            errors = {status: response for status, response in operation["responses"].items() if int(status) >= 400}
            assert all(list(response["content"]) == ["application/problem+json"] for response in errors.values())
            assert operation["summary"]


def test_without_an_outbox_there_is_nothing(tmp_path: Path) -> None:
    with TestClient(World().app()) as client:
        assert client.get("/v1/alerts/endpoints").status_code == 404
