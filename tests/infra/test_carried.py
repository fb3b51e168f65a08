"""What people told the fold goes over into the log behind a crash: rules, the models' roster, partition by partition."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from infra.carried import Carried, again
from infra.clickhouse import Database, connect
from infra.embedded.services import Embedded
from infra.rule_changes import standing
from processors.roster import Roster, Served, turned
from schemas.control import MODELS, ModelChange, model_change
from schemas.events import Control
from schemas.rules import RULES, Condition, Rule, RuleChange, rule_change
from schemas.tables import MODEL_CHANGES, RULE_CHANGES
from schemas.topics import Topic
from tests.fakes import ConstantModel, SteppingClock

START = Served("onnx")


def roster_of(*changes: tuple[str, str], given: str = "", start: Roster | None = None) -> Roster:
    roster = start or Roster.start("onnx")
    for action, model in changes:
        change = ModelChange(action=action, model=model)  # type: ignore[arg-type]
        roster = turned(roster, change, lambda name: ConstantModel(0.5, name), given).roster
    return roster


HISTORIES: dict[str, list[tuple[str, str]]] = {
    "nothing": [],
    "promoted": [("promote", "m1"), ("promote", "m2")],
    "rolled back": [("promote", "m1"), ("promote", "m2"), ("rollback", "m2")],
    "online serves": [("promote", "m1"), ("promote", "online")],
    "challenged": [("challenge", "m1"), ("challenge", "m2"), ("retire", "m1"), ("challenge", "m3")],
    "quarantined": [("promote", "m1"), ("quarantine", "m1"), ("challenge", "m2")],
    "the given one is quarantined": [("quarantine", "m0"), ("promote", "m1")],
    "the given one is promoted by name": [("promote", "m1"), ("promote", "m0")],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_fresh_roster_gets_to_where_the_former_one_was(name: str) -> None:
    told = HISTORIES[name]
    former, known_by_rows = roster_of(*told, given="m0"), roster_of(*told)
    fresh = roster_of(*((each.action, each.model) for each in again(known_by_rows, START)), given="m0")
    assert (fresh.served, set(fresh.out), {*fresh.challengers}) == (
        former.served,
        set(former.out),
        {*former.challengers},
    )
    assert fresh.before == former.before


@pytest.fixture
def store(embedded: Embedded) -> Iterator[tuple[Database, str]]:
    """The tables of changes in a database of their own."""
    made, name = connect(embedded.clickhouse_url), f"carried_{uuid4().hex[:8]}"
    made.command(f"CREATE DATABASE {name}")
    for table in (RULE_CHANGES, MODEL_CHANGES):
        made.command(table.ddl(name))
    yield made, name
    made.command(f"DROP DATABASE {name}")
    made.close()


def put(
    store: tuple[Database, str], table: str, log: str, partition: int, rows: Sequence[Mapping[str, object]]
) -> None:
    database, name = store
    for offset, row in enumerate(rows):
        full = {"log_id": log, "src_partition": partition, "src_offset": offset, **row}
        columns, values = ", ".join(f"`{key}`" for key in full), ", ".join(f"{{{key}:String}}" for key in full)
        database.command(
            f"INSERT INTO {name}.{table} ({columns}) SELECT {values}", {key: str(value) for key, value in full.items()}
        )


def rule_row(action: str, rule: str, threshold: float = 1.0, refused: str = "") -> dict[str, object]:
    body = "" if action == "remove" else msgspec.json.encode(rule_named(rule, threshold)).decode()
    return {"action": action, "rule": rule, "by": "desk", "body": body, "refused": refused}


def rule_named(rule: str, threshold: float) -> Rule:
    return Rule(
        id=rule, conditions=(Condition(field="mid", op="<", threshold=threshold, hysteresis=0.5),), owner="desk"
    )


def model_row(action: str, model: str, refused: str = "") -> dict[str, object]:
    return {"action": action, "model_id": model, "refused": refused}


class Heard:
    """Takes what is written; `KafkaWriter` as far as it is used."""

    def __init__(self) -> None:
        self.by_partition: dict[int, list[Control]] = {}
        self.flushed = 0

    def send(self, topic: Topic[Any], partition: int, messages: Sequence[tuple[str, bytes]]) -> None:
        events = [topic.decode(value) for _, value in messages]
        self.by_partition[partition] = events

    def flush(self) -> None:
        self.flushed += 1

    def rules(self, partition: int) -> list[tuple[str, str, float]]:
        told = [rule_change(each.body) for each in self.by_partition[partition] if each.topic == RULES]
        return [
            (each.action, each.id, each.rule.conditions[0].threshold)
            for each in told
            if isinstance(each, RuleChange) and each.rule is not None
        ]

    def models(self, partition: int) -> list[tuple[str, str]]:
        told = [model_change(each.body) for each in self.by_partition[partition] if each.topic == MODELS]
        return [(each.action, each.model) for each in told if each is not None]


@pytest.mark.embedded
def test_what_stood_on_every_log_before_is_said_again_on_each_partition(store: tuple[Database, str]) -> None:
    put(store, "rule_changes", "a", 0, [
        rule_row("add", "stays"), rule_row("add", "goes"), rule_row("add", "stays", 9.0, refused="stands already"),
        rule_row("change", "stays", 2.0),
    ])  # fmt: skip
    put(store, "rule_changes", "b", 0, [rule_row("remove", "goes"), rule_row("add", "late", 3.0)])
    put(store, "rule_changes", "a", 1, [rule_row("add", "stays")])
    put(store, "rule_changes", "another", 0, [rule_row("add", "foreign")])
    put(store, "model_changes", "a", 0, [
        model_row("promote", "m1"), model_row("challenge", "m2"), model_row("promote", "m3", refused="gone"),
        model_row("warm", "warm-1"),
    ])  # fmt: skip
    put(store, "model_changes", "b", 0, [model_row("promote", "m1"), model_row("quarantine", "m2")])
    heard: Any = Heard()
    Carried(*store, ["a", "b"], "onnx").say(heard, [0, 1], SteppingClock(5))
    assert heard.rules(0) == [("add", "stays", 2.0), ("add", "late", 3.0)]
    assert heard.models(0) == [("quarantine", "m2"), ("promote", "m1")]
    assert (heard.rules(1), heard.models(1)) == ([("add", "stays", 1.0)], [])
    assert [each.ts_event for each in heard.by_partition[0]] == [5, 6, 7, 8], "each is told from the others"
    assert heard.flushed == 1


@pytest.mark.embedded
def test_which_rules_stand_is_told_by_offsets_and_not_by_the_writers_clocks(store: tuple[Database, str]) -> None:
    ahead, now = {"ts_event": "2026-11-30 00:00:09"}, {"ts_event": "2026-11-30 00:00:04"}
    for partition in (0, 1):
        put(store, "rule_changes", "a", partition, [
            rule_row("add", "gone") | ahead, rule_row("remove", "gone") | now, rule_row("add", "stays", 1.0) | ahead,
            rule_row("change", "stays", 2.0) | now,
        ])  # fmt: skip
    (found,) = standing(*store, "a")
    assert (found.rule, found.fence) == (rule_named("stays", 2.0), {"0": 3, "1": 3})
