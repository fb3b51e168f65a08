import json
from copy import deepcopy
from typing import Any

import pytest

from schemas.contract import breaks, exported, schema_of, text_of
from schemas.topics import EVENTS, TOPICS, Topic


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_exported_schema_is_the_one_in_force(topic: Topic[Any]) -> None:
    written = exported(topic).read_text()
    assert breaks(json.loads(written), schema_of(topic)) == []
    assert written == text_of(schema_of(topic)), "run `python -m schemas.contract`"


def changed(change: Any) -> list[str]:
    after = deepcopy(schema_of(EVENTS))
    change(after["$defs"]["Trade"])
    return breaks(schema_of(EVENTS), after)


def test_a_field_with_a_default_may_come() -> None:
    assert changed(lambda trade: trade["properties"].update(tick_rule={"type": "integer", "default": 0})) == []


def test_a_field_that_goes_is_a_break() -> None:
    assert changed(lambda trade: trade["properties"].pop("price")) == ["Trade.price is gone"]


def test_a_field_that_becomes_required_is_a_break() -> None:
    assert changed(lambda trade: trade["required"].append("conditions")) == ["Trade.conditions became required"]


def test_a_field_that_changes_its_type_is_a_break() -> None:
    told = changed(lambda trade: trade["properties"].update(price={"type": "string"}))
    assert len(told) == 1
    assert told[0].startswith("Trade.price changed from")


def test_an_enumeration_may_grow_but_not_shrink() -> None:
    assert changed(lambda trade: trade["properties"]["side"]["enum"].append("both")) == []
    assert len(changed(lambda trade: trade["properties"]["side"]["enum"].remove("buy"))) == 1


def test_a_type_of_event_that_goes_is_a_break() -> None:
    after = deepcopy(schema_of(EVENTS))
    after["$defs"].pop("Cancel")
    assert "Cancel is gone" in breaks(schema_of(EVENTS), after)
