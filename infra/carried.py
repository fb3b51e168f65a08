"""What people have told the fold outlives the log that they told it on: rules and models are said again on the next one.

A log that is new has a fold that knows nothing. What is read is everything that was stored of the logs before, not of the last
one alone: that one may have lost what was said on it again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec
import structlog

from infra.clickhouse import Database
from infra.kafka_writer import KafkaWriter
from infra.models.triton_shadow import Unanswered
from infra.rule_changes import rule_of
from processors.roster import Roster, Served, turned
from processors.scores import ONLINE
from schemas.control import MODELS, ModelChange, body_of
from schemas.events import Control
from schemas.rules import RULES, RuleChange, body_of_rule
from schemas.topics import EVENTS
from streams.ports import Clock

Change: TypeAlias = RuleChange | ModelChange
LAST: Final = "it stood on log {}, which ended"


class Carried:
    """`before`: the logs of the topic that were opened before the one that goes on, oldest first; at least one. champion: who
    serves where nobody was told."""

    def __init__(self, database: Database, name: str, before: Sequence[str], champion: str) -> None:
        self._database, self._name, self._before, self._champion = database, name, list(before), champion

    def say(self, writer: KafkaWriter, partitions: Iterable[int], clock: Clock) -> None:
        """Write onto each of these partitions what stood; they hold nothing of the new log that was folded."""
        now_ns, told = clock.now_ns(), dict[Change, int]()
        for partition in partitions:
            events = []
            for change in self._told(partition):
                at = now_ns + told.setdefault(change, len(told))  # the same in every partition: it is one change
                events.append(("", EVENTS.encode(_control(change, at))))
            writer.send(EVENTS, partition, events)
        writer.flush()
        if told:
            structlog.get_logger().info(
                "said again on the new log", before=self._before[-1],
                rules=sorted({each.id for each in told if isinstance(each, RuleChange)}),
                models=sorted({each.model for each in told if isinstance(each, ModelChange)}),
            )  # fmt: skip

    def _told(self, partition: int) -> Iterator[Change]:
        why = LAST.format(self._before[-1])
        for rule in self._rules(partition):
            yield msgspec.structs.replace(rule, why=why)
        for change in again(self._roster(partition), Roster.start(self._champion).served):
            yield msgspec.structs.replace(change, by="tickwire", why=why)

    def _rules(self, partition: int) -> list[RuleChange]:
        standing: dict[str, RuleChange] = {}
        for rule, action, by, body in self._rows("rule_changes", "rule, action, `by`, body", partition):
            standing.pop(rule, None)
            if action != "remove":
                standing[rule] = RuleChange(action="add", id=rule, rule=rule_of(body.encode()), by=by)
        return list(standing.values())

    def _roster(self, partition: int) -> Roster:
        roster = Roster.start(self._champion)
        for action, model in self._rows("model_changes", "action, model_id", partition):
            if action != "warm":
                change = msgspec.convert({"action": action, "model": model}, ModelChange)
                roster = turned(
                    roster, change, Unanswered, ""
                ).roster  # whether it can be used is judged where it is said again
        return roster

    def _rows(self, table: str, columns: str, partition: int) -> Sequence[tuple[str, ...]]:
        return self._database.rows(
            f"SELECT {columns} FROM `{self._name}`.{table} FINAL WHERE has({{logs:Array(String)}}, log_id) "  # noqa: S608
            f"AND src_partition = {partition} AND refused = '' ORDER BY indexOf({{logs:Array(String)}}, log_id), src_offset",
            {"logs": self._before},
        ).rows


def again(roster: Roster, start: Served) -> Iterator[ModelChange]:
    """Changes that lead from a fresh roster to this one."""
    yield from (ModelChange(action="quarantine", model=model) for model in dict.fromkeys(roster.out))
    for served in (*roster.before, roster.served):
        model = ONLINE if served.champion == ONLINE else served.onnx
        if served != start and model not in roster.out:
            yield ModelChange(action="promote", model=model)
    yield from (ModelChange(action="challenge", model=model) for model in roster.challengers if model)


def _control(change: Change, at_ns: int) -> Control:
    if isinstance(change, RuleChange):
        return Control(topic=RULES, id=change.id, ts_event=at_ns, ts_ingest=at_ns, body=body_of_rule(change))
    return Control(topic=MODELS, id=change.model, ts_event=at_ns, ts_ingest=at_ns, body=body_of(change))
