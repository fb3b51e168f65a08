"""Changes of the alert rules go onto the log, as changes of the models do; which stand is told by what the fold stored."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from infra.clickhouse import Database
from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka
from processors.features import FEATURE_NAMES
from processors.rule_fields import Vocabulary
from processors.shard import FoldRules
from schemas.errors import RuleError
from schemas.events import Control
from schemas.rules import RULES, Rule, RuleChange, RuleTaken, StandingRule, body_of_rule
from streams.ports import Clock

WITHIN_S: Final = 20.0
LOOK_EVERY_S: Final = 0.1


def vocabulary(fold: FoldRules | None = None) -> Vocabulary:
    """The fields that rules may name here."""
    return Vocabulary(FEATURE_NAMES, [kind.name for kind in (fold or FoldRules()).bars])


def write_rule_change(kafka: Kafka, change: RuleChange, clock: Clock) -> int:
    """Say it on every partition; the event's time, which tells it from others. `RuleError` for a rule that cannot be judged."""
    if change.rule is not None:
        vocabulary().check(change.rule)
    now = clock.now_ns()
    writer = KafkaWriter(kafka)
    writer.write([Control(topic=RULES, id=change.id, ts_event=now, ts_ingest=now, body=body_of_rule(change))])
    writer.flush()
    return now


def taken(
    database: Database, name: str, change: RuleChange, at: int, partitions: int, sleep: Callable[[float], None],
    within_s: float = WITHIN_S,
) -> RuleTaken:  # fmt: skip
    """What scoring stored of a change, once it has of all partitions, or the time is over; `at`: its event's time."""
    waited = 0.0
    sql = (
        f"SELECT src_partition, min(src_offset), any(refused) FROM `{name}`.rule_changes "  # noqa: S608
        "WHERE rule = {rule:String} AND ts_event = fromUnixTimestamp64Nano({at:Int64}) "
        "GROUP BY src_partition ORDER BY src_partition"
    )
    while True:
        rows = database.rows(sql, {"rule": change.id, "at": at}).rows
        if len(rows) == partitions or waited >= within_s:
            return RuleTaken(
                action=change.action, id=change.id, everywhere=len(rows) == partitions,
                fence={str(partition): int(offset) for partition, offset, why in rows if not why},
                refused={str(partition): str(why) for partition, _, why in rows if why},
            )  # fmt: skip
        sleep(LOOK_EVERY_S)
        waited += LOOK_EVERY_S


def standing(database: Database, name: str, log_id: str) -> list[StandingRule]:
    """The rules of a log that stand by what was stored of it, in the order of their ids."""
    rows = database.rows(
        "SELECT rule, action, rev, toUnixTimestamp64Nano(ts_event), `by`, body, src_partition, src_offset "  # noqa: S608
        f"FROM `{name}`.rule_changes WHERE log_id = {{log:String}} AND refused = '' ORDER BY src_partition, src_offset",
        {"log": log_id},
    ).rows
    newest: dict[str, dict[int, StandingRule | None]] = {}
    for rule, action, rev, since, by, body, partition, offset in rows:
        newest.setdefault(rule, {})[int(partition)] = None if action == "remove" else StandingRule(
            rule=rule_of(body.encode()), rev=int(rev), since_ns=int(since), by=by, fence={str(partition): int(offset)},
        )  # fmt: skip
    return [found for _, by_partition in sorted(newest.items()) if (found := _together(by_partition)) is not None]


def _together(by_partition: Mapping[int, StandingRule | None]) -> StandingRule | None:
    """A rule as the lowest partition has it, with its offset in every one that has it from the same change.

    Offsets say what came last; the times are of the writers' clocks.
    """
    first = next(iter(by_partition.values()))
    if first is None:
        return None
    same = [each for each in by_partition.values() if each is not None and each.since_ns == first.since_ns]
    return msgspec.structs.replace(first, fence={key: at for each in same for key, at in each.fence.items()})


def rule_of(raw: bytes) -> Rule:
    """A rule as JSON. `RuleError` says what is wrong with it, and where."""
    try:
        return msgspec.json.decode(raw, type=Rule)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RuleError(f"not a rule: {error}") from error
