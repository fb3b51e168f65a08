"""A back-test for the API: what its process ends with, and what a client is told of it."""

import json
from pathlib import Path

import pytest

from infra import alert_rules
from infra.alert_rules import LiveRules
from infra.backtest import Request, refuse_outside
from infra.settings import Settings
from schemas.errors import BackendError, InputError, RuleError
from schemas.rules import Condition, Rule

RULE = Rule(id="falls", conditions=(Condition(field="mid", op="<", threshold=10.0),))
FOUND = {
    "rule": {"id": "falls", "conditions": [{"field": "mid", "op": "<", "threshold": 10.0}]}, "fired": 7, "cleared": 6,
    "plain_fired": 41, "by_symbol": {"A": 7}, "alerts": [], "log_id": "log", "ranges": {"0": [0, 9]}, "records": 9,
    "seconds": 0.1, "complete": False, "sentence": "fired 7 times",
}  # fmt: skip


@pytest.fixture
def rules(tmp_path: Path) -> LiveRules:
    address = {"kafka": {"bootstrap": "127.0.0.1:1"}, "clickhouse": {"url": "http://127.0.0.1:1/"}}
    settings = Settings.model_validate({"data": tmp_path, "redis": {"url": "redis://127.0.0.1:1"}, **address})
    return LiveRules(settings, None)  # type: ignore[arg-type]


def ends_with(monkeypatch: pytest.MonkeyPatch, code: int, *, out: str = "", error: str = "") -> None:
    """In place of `tickwire rules backtest`."""
    script = f"cat > /dev/null; echo '{out}'; echo '{error}' >&2; exit {code}"
    monkeypatch.setattr(alert_rules, "COMMAND", ("/bin/sh", "-c", script, "sh"))


def test_out_of_time_is_an_answer_that_says_so(rules: LiveRules, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_with(monkeypatch, 75, out=json.dumps(FOUND))
    found = rules.backtest(RULE, None, None)
    assert (found.fired, found.complete, found.ranges) == (7, False, {"0": (0, 9)})


def test_a_stretch_that_cannot_be_judged_is_the_clients_mistake(
    rules: LiveRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_with(monkeypatch, 65, error="error: expected a stretch on the log, which has no record of 2026 or later")
    with pytest.raises(InputError, match="expected a stretch on the log"):
        rules.backtest(RULE, 1, None)
    ends_with(monkeypatch, 65, error="error: rule falls: conditions[0].field: no field mdi")
    with pytest.raises(RuleError, match="no field mdi"):
        rules.backtest(RULE, None, None)


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (2, "error: TICKWIRE_FOO sets nothing", "the back-test failed: TICKWIRE_FOO sets nothing"),
        (1, "error: Kafka did not answer", "the back-test failed: Kafka did not answer"),
        (0, "", "expected what it found as JSON"),
        (75, "", "expected what it found as JSON"),
    ],
)
def test_anything_else_is_a_failure_behind_the_api(
    rules: LiveRules, monkeypatch: pytest.MonkeyPatch, code: int, error: str, told: str
) -> None:
    ends_with(monkeypatch, code, error=error)
    with pytest.raises(BackendError, match=told):
        rules.backtest(RULE, None, None)


def test_times_with_nothing_of_the_log_between_them_are_refused() -> None:
    log = {0: (10, 20), 1: (0, 0)}
    with pytest.raises(InputError, match=r"no record of 2026-12-01T00:00:00\+00:00 or later"):
        refuse_outside(Request(RULE, begin=1_796_083_200 * 10**9), {0: 20, 1: 0}, {}, log)
    with pytest.raises(InputError, match="no record from before 2026-12-01"):
        refuse_outside(Request(RULE, end=1_796_083_200 * 10**9), {}, {0: 10, 1: 0}, log)
    refuse_outside(Request(RULE, begin=5, end=6), {0: 15, 1: 0}, {0: 15, 1: 0}, log)
    refuse_outside(Request(RULE, begin={0: 20}), {0: 20}, {}, log)
