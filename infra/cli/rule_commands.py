"""What `tickwire rules …` does."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table as Grid

from infra.access.audited import record_command
from infra.alert_history import recent_alerts
from infra.backtest import Request
from infra.backtest import backtest as run_backtest
from infra.cli.files import read
from infra.cli.outcome import show_outcome
from infra.cli.plain import finite, plain
from infra.clickhouse import Database, connect
from infra.clock import WallClock
from infra.instance import attached
from infra.judged_range import parse_bound
from infra.log_identity import current_log
from infra.rule_changes import rule_of, standing, taken, write_rule_change
from infra.settings import Settings
from schemas.backtest import Backtest
from schemas.errors import InputError, RuleError
from schemas.rows import Alert
from schemas.rules import Condition, Rule, RuleChange, StandingRule

SHOWN = 20
OUT_OF_TIME = os.EX_TEMPFAIL
NOT_JUDGED = os.EX_DATAERR


def listed(settings: Settings, *, as_json: bool) -> None:
    """Print every rule that stands."""
    settings = attached(settings)
    with _database(settings) as database:
        found = standing(database, settings.clickhouse.database, current_log(settings.kafka).log_id)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    grid = Grid("rule", "rev", "watches", "holds while", "held back by", "severity", "owner", "since", box=None)
    for each in found:
        grid.add_row(*_cells(each))
    plain().print(grid if found else "no rule stands; `tickwire rules add FILE` adds one")


def show(settings: Settings, rule: str, *, as_json: bool) -> int:
    """Print one rule with its newest alerts."""
    settings = attached(settings)
    with _database(settings) as database:
        name, log_id = settings.clickhouse.database, current_log(settings.kafka).log_id
        found = next((each for each in standing(database, name, log_id) if each.rule.id == rule), None)
        alerts = recent_alerts(database, name, rule=rule, limit=SHOWN)
    if found is None:
        print(f"error: no rule {rule} stands; `tickwire rules list` lists those that do", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(finite({"rule": msgspec.to_builtins(found), "alerts": msgspec.to_builtins(alerts)})))
        return 0
    print(msgspec.json.format(msgspec.json.encode(found)).decode())
    _show_alerts(alerts)
    return 0


def add(settings: Settings, file: Path, action: Any, by: str, why: str, *, as_json: bool) -> int:
    """Write a rule onto the log and say where its fence is."""
    rule = _read(file)
    return _change(settings, RuleChange(action=action, id=rule.id, rule=rule, by=by, why=why), as_json=as_json)


def remove(settings: Settings, rule: str, by: str, why: str, *, as_json: bool) -> int:
    """Take a rule away."""
    try:
        change = msgspec.convert({"action": "remove", "id": rule, "by": by, "why": why}, RuleChange)
    except msgspec.ValidationError as error:
        raise RuleError(f"not a change of a rule: {error}") from error
    return _change(settings, change, as_json=as_json)


def _change(settings: Settings, change: RuleChange, *, as_json: bool) -> int:
    settings = attached(settings)
    record_command(settings, f"rule {change.action}", rule=change.id)
    at = write_rule_change(settings.kafka, change, WallClock())
    with _database(settings) as database:
        found = taken(database, settings.clickhouse.database, change, at, settings.kafka.partitions, time.sleep)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        show_outcome(f"{change.action} {change.id}", found.fence, found.refused)
    if not found.everywhere and not as_json:
        print("it is on the log, but not all partitions are scored now; it is in force as soon as they are")
    return 1 if found.refused else 0 if found.everywhere else 2


def backtest(settings: Settings, file: Path, begin: str, end: str, within_s: float, *, as_json: bool) -> int:
    """Judge a rule over the log and print what it would have said."""
    request = Request(_read(file), parse_bound(begin, "--from"), parse_bound(end, "--to"), within_s)
    try:
        found = _judged(settings, request, as_json=as_json)
    except (RuleError, InputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_JUDGED
    if as_json:
        print(json.dumps(finite({**msgspec.to_builtins(found), "sentence": found.sentence})))
    else:
        _show(found)
    return 0 if found.complete else OUT_OF_TIME


def _judged(settings: Settings, request: Request, *, as_json: bool) -> Backtest:
    columns = (TextColumn("folding the log"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as progress:
        task = progress.add_task("fold", total=None)
        return run_backtest(
            attached(settings), request, lambda done, total: progress.update(task, completed=done, total=total)
        )


def _show(found: Backtest) -> None:
    print(f"{found.rule.id}: {found.sentence}")
    if not found.complete:
        told = ", ".join(f"{p}:{first}-{end}" for p, (first, end) in found.ranges.items())
        print(f"not all of it: the time was over; judged are {told}; give it more with --within")
    for note in found.notes:
        print(note)
    for symbol, times in found.by_symbol.items():
        print(f"  {symbol}: {times}")
    _show_alerts(found.alerts)


def _show_alerts(alerts: Any) -> None:
    grid = Grid("time", "symbol", "", "field", "value", "threshold", box=None)
    for each in alerts[:SHOWN]:
        grid.add_row(*_alert_cells(each))
    if alerts:
        plain().print(grid)
    if len(alerts) > SHOWN:
        print(f"and {len(alerts) - SHOWN} more; --json tells all")


def _alert_cells(alert: Alert) -> list[str]:
    at = datetime.fromtimestamp(alert.ts_event / 1e9, UTC).isoformat(timespec="milliseconds")
    return [at, alert.symbol, alert.state, alert.field, f"{alert.value:g}", f"{alert.threshold:g}"]


def _cells(standing_rule: StandingRule) -> list[str]:
    rule = standing_rule.rule
    joined = f" {'and' if rule.match == 'all' else 'or'} "
    held = [
        f"dwell {rule.dwell_s:g} s" if rule.dwell_s else "",
        f"cool-down {rule.cool_down_s:g} s" if rule.cool_down_s else "",
    ]
    return [
        rule.id, str(standing_rule.rev), " ".join(rule.symbols) or rule.venue or "all",
        joined.join(map(_condition, rule.conditions)),
        ", ".join(filter(None, held)), rule.severity, rule.owner,
        datetime.fromtimestamp(standing_rule.since_ns / 1e9, UTC).isoformat(timespec="seconds"),
    ]  # fmt: skip


def _condition(condition: Condition) -> str:
    band = f", band {condition.hysteresis:g}" if condition.hysteresis else ""
    return f"{condition.field} {condition.op} {condition.threshold:g}{band}"


def _read(file: Path) -> Rule:
    return rule_of(sys.stdin.buffer.read() if str(file) == "-" else read(file))


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = connect(settings.clickhouse.url.get_secret_value(), timeout_s=30)
    try:
        yield database
    finally:
        database.close()
