"""`/asyncapi.json`: nothing that is said is missing from it, and nothing in it leads nowhere."""

import re
from typing import Any

from fastapi.testclient import TestClient

from api.asyncapi import SAID_BY_CLIENT, SAID_BY_SERVER
from api.feed.channels import CHANNELS
from api.feed.messages import CLOSE_CODES
from tests.api.fakes import world


def document() -> dict[str, Any]:
    answer = TestClient(world().app()).get("/asyncapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()  # type: ignore[no-any-return]


def pointed(found: dict[str, Any], pointer: str) -> Any:
    for step in pointer.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_every_message_close_code_and_channel_is_described() -> None:
    found = document()
    assert found["asyncapi"] == "3.0.0"
    assert set(found["components"]["messages"]) == {each.__name__ for each in (*SAID_BY_CLIENT, *SAID_BY_SERVER)}
    assert all(message["summary"] for message in found["components"]["messages"].values())
    assert {str(code) for code in CLOSE_CODES} < set(found["x-close-codes"])
    assert [one["channel"] for one in found["x-subscriptions"]] == list(CHANNELS)


def test_every_reference_leads_somewhere() -> None:
    answer = TestClient(world().app()).get("/asyncapi.json")
    references = re.findall(r'"\$ref":"([^"]+)"', answer.text)
    assert len(references) > 40
    assert all(pointed(answer.json(), reference) for reference in references)


def test_the_tags_are_those_that_go_over_the_wire() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["Subscribe"]["properties"]["op"]["enum"] == ["subscribe"]
    assert schemas["Revise"]["properties"]["type"]["enum"] == ["revise"]
    assert schemas["Gap"]["required"] == ["type", "channel", "symbol", "from", "to", "reason"]
