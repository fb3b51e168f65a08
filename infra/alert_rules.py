"""The API's ports of alerts and rules, over Kafka, ClickHouse and a process for back-tests."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from api.ports import Span
from infra.alert_history import recent_alerts
from infra.clickhouse import Database
from infra.clock import WallClock
from infra.instance import environment
from infra.log_identity import current_log
from infra.rule_changes import standing, taken, write_rule_change
from infra.settings import Settings
from schemas.backtest import Backtest
from schemas.errors import BackendError, InputError, RuleError
from schemas.rows import Alert
from schemas.rules import Rule, RuleChange, RuleTaken, StandingRule

TAKEN_WITHIN_S: Final = 5.0
BACKTEST_WITHIN_S: Final = 60.0
GRACE_S: Final = 15.0
_log = logging.getLogger("tickwire.api")
OUT_OF_TIME: Final = os.EX_TEMPFAIL
NOT_JUDGED: Final = os.EX_DATAERR
"""Exit codes of `tickwire rules backtest`."""
COMMAND: Final = (sys.executable, "-m", "infra.cli", "rules", "backtest", "-", "--json")


@dataclass(frozen=True)
class LiveRules:
    """`api.ports.AlertRules` of one installation."""

    settings: Settings
    database: Database
    within_s: float = BACKTEST_WITHIN_S

    def standing(self) -> Sequence[StandingRule]:
        """By what the fold has stored."""
        return standing(self.database, self.settings.clickhouse.database, current_log(self.settings.kafka).log_id)

    def change(self, change: RuleChange) -> RuleTaken:
        """Onto the log, and then what came of it."""
        at = write_rule_change(self.settings.kafka, change, WallClock())
        name, partitions = self.settings.clickhouse.database, self.settings.kafka.partitions
        try:
            return taken(self.database, name, change, at, partitions, time.sleep, TAKEN_WITHIN_S)
        except BackendError as error:  # it is on the log: an error would let who repeats it write it twice
            _log.warning("a change of the rules is on the log, but what came of it cannot be told: %s", error)
            return RuleTaken(action=change.action, id=change.id, fence={}, refused={}, everywhere=False)

    def backtest(self, rule: Rule, begin: int | None, end: int | None) -> Backtest:
        """In a process of its own, which is ended when its time is over."""
        bounds = [*_option("--from", begin), *_option("--to", end), "--within", f"{self.within_s:g}"]
        child = subprocess.Popen(
            [*COMMAND, *bounds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **environment(self.settings)}, start_new_session=True,
        )  # fmt: skip
        try:
            said, errors = child.communicate(msgspec.json.encode(rule), timeout=self.within_s + GRACE_S)
        except subprocess.TimeoutExpired as error:
            child.kill()
            child.communicate()
            raise BackendError(f"the back-test did not end within {self.within_s + GRACE_S:g} s") from error
        if child.returncode not in (0, OUT_OF_TIME):
            raise _refusal(child.returncode, errors.decode(errors="replace"))
        try:
            return msgspec.json.decode(said, type=Backtest)
        except msgspec.DecodeError as error:
            raise BackendError(f"the back-test failed: expected what it found as JSON, {error}") from error


@dataclass(frozen=True)
class StoredAlerts:
    """`api.ports.AlertHistory` over ClickHouse."""

    database: Database
    name: str

    def alerts(self, rule: str, symbol: str, span: Span) -> Sequence[Alert]:
        """The newest first."""
        return recent_alerts(
            self.database, self.name, rule=rule, symbol=symbol, limit=span.limit, start=span.start, before=span.end
        )


def _option(name: str, at: int | None) -> Sequence[str]:
    return [] if at is None else [name, datetime.fromtimestamp(at / 1e9, UTC).isoformat()]


def _refusal(code: int, errors: str) -> Exception:
    told = next(
        (line.removeprefix("error: ") for line in reversed(errors.splitlines()) if line.startswith("error: ")), ""
    )
    with suppress(ValueError):
        told = told or f"it ended with {signal.Signals(-code).name}"
    if code == NOT_JUDGED:
        return RuleError(told) if told.startswith("rule ") else InputError(told)
    return BackendError(f"the back-test failed: {told or code}")
