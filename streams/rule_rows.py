"""What alert rules said, as values for our topic and as columns for ClickHouse; and changes of the rules."""

import msgspec
import numpy as np

from processors.batch import Integers
from processors.shard import ShardOutput
from schemas.rows import Alert
from schemas.rules import alert_id
from streams.columns import Block


def alerts_of(log_id: str, output: ShardOutput) -> list[Alert]:
    """One per rule that fired or cleared, in log order."""
    told = []
    for each in output.alerts:
        rule, symbol = each.standing.rule, output.names[each.row]
        condition, offset = rule.conditions[each.condition], int(output.stretch.offsets[each.event])
        told.append(Alert(
            id=alert_id(log_id, rule.id, symbol, output.partition, offset), rule=rule.id, symbol=symbol,
            state="fired" if each.fired else "cleared", ts_event=each.now, value=each.value,
            threshold=condition.threshold, log_id=log_id, src_partition=output.partition, src_offset=offset,
            field=condition.field, severity=rule.severity, owner=rule.owner, rev=each.standing.rev,
        ))  # fmt: skip
    return told


def raised_at(output: ShardOutput) -> Integers:
    """Which events of the stretch made alerts."""
    return np.array([each.event for each in output.alerts], np.int64)


def alert_columns(log_id: str, output: ShardOutput) -> Block:
    """One row per alert, without where it comes from."""
    told = alerts_of(log_id, output)
    names = ("id", "rule", "rev", "symbol", "state", "severity", "owner", "ts_event", "field", "value", "threshold")
    return {name: _typed([getattr(each, name) for each in told], name) for name in names}


def changed_rules_at(output: ShardOutput) -> Integers:
    """Which events of the stretch changed the rules."""
    return np.array([each.event for each in output.rule_changes], np.int64)


def rule_change_columns(output: ShardOutput) -> Block:
    """One row per change; `body` is the rule that stands behind it, or was refused."""
    told = output.rule_changes
    return {
        "ts_event": output.events.ts_event[changed_rules_at(output)],
        "action": [each.action for each in told],
        "rule": [each.id for each in told],
        "rev": np.array([each.rev for each in told], np.uint32),
        "by": [each.by for each in told],
        "why": [each.why for each in told],
        "refused": [each.refused for each in told],
        "body": ["" if each.rule is None else msgspec.json.encode(each.rule).decode() for each in told],
    }


_TYPES = {"rev": np.uint32, "ts_event": np.int64, "value": np.float64, "threshold": np.float64}


def _typed(values: list, name: str):  # type: ignore[type-arg,no-untyped-def]
    return np.array(values, _TYPES[name]) if name in _TYPES else values
