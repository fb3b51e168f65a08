"""What cron, Airflow and Kubernetes see of the nightly run: exit statuses and one line of JSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.cli import schedule
from infra.cli.schedule import nightly_due, nightly_run, runs_of
from infra.nightly.night_runs import NightRun
from infra.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
SETTLE = timedelta(minutes=15)
YESTERDAY = (datetime.now(UTC) - SETTLE).date() - timedelta(days=1)
THANKSGIVING = "2026-11-26"


class Log:
    log_id = "log"

    def spans(self, begin_ns: int, end_ns: int) -> dict[int, tuple[int, int]]:
        return {0: (3, 8)}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Services that are there, and a log of our own; the nightly of a test is a program (`nightly`)."""

    @contextmanager
    def log(_settings: Settings) -> Iterator[Log]:
        yield Log()

    monkeypatch.setattr("infra.session_log.session_log", log)
    address = {"kafka": {"bootstrap": "127.0.0.1:1"}, "clickhouse": {"url": "http://127.0.0.1:1/"}}
    return Settings.model_validate({"data": tmp_path, "redis": {"url": "redis://127.0.0.1:1"}, **address})


def nightly(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    def command(_spans: object, *, as_json: bool) -> Sequence[str]:
        return ["/bin/sh", "-c", script]

    monkeypatch.setattr(schedule, "nightly_command", command)


def test_a_run_that_is_done_is_told_and_made_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nightly(monkeypatch, "echo '{\"rows\": 5}'")
    assert nightly_due(settings, "24/7", SETTLE, day="", as_json=False) == 0
    assert capsys.readouterr().out == f"nightly run of {YESTERDAY} (24/7): due\n"
    assert nightly_run(settings, "24/7", SETTLE, day="", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["nightly"] == {"rows": 5}
    assert (told["state"], told["day"], told["first"], told["end"]) == ("done", str(YESTERDAY), "0:3", "0:8")
    assert nightly_due(settings, "24/7", SETTLE, day="", as_json=True) == 99
    assert nightly_run(settings, "24/7", SETTLE, day=str(YESTERDAY), as_json=True) == 0
    states = [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]
    assert states == ["already done", "already done"]


@pytest.mark.parametrize("code", [1, 2])
def test_the_status_of_the_nightly_is_ours(settings: Settings, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    nightly(monkeypatch, f"exit {code}")
    assert nightly_run(settings, "24/7", SETTLE, day="", as_json=True) == code


def test_a_day_without_trading_is_nothing_to_do(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert nightly_run(settings, "XNYS", SETTLE, day=THANKSGIVING, as_json=False) == 0
    assert nightly_due(settings, "XNYS", SETTLE, day=THANKSGIVING, as_json=False) == 99
    assert capsys.readouterr().out == f"nightly run of {THANKSGIVING} (XNYS): no session\n" * 2


@pytest.mark.parametrize(
    ("calendar", "day", "said"),
    [
        ("24/7", f"{datetime.now(UTC).date() + timedelta(days=1)}", "24/7 closes its session of"),
        ("24/7", "yesterday", "--date: expected a date such as 2026-11-27, was 'yesterday'"),
        ("XNIS", "", "no exchange calendar is named 'XNIS'"),
    ],
)
def test_what_cannot_be_done_is_status_2_and_one_line(
    settings: Settings, capsys: pytest.CaptureFixture[str], calendar: str, day: str, said: str
) -> None:
    assert nightly_run(settings, calendar, SETTLE, day=day, as_json=False) == 2
    assert nightly_due(settings, calendar, SETTLE, day=day, as_json=False) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"error: {said}") for line in lines)


def test_a_second_run_at_once_is_status_75(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with runs_of(settings).locked():
        assert nightly_run(settings, "24/7", SETTLE, day="", as_json=False) == 75
    assert "makes a nightly run now" in capsys.readouterr().err


def test_no_services_are_status_2_and_the_day_stays_due(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(data=tmp_path)
    assert nightly_run(settings, "24/7", SETTLE, day="", as_json=False) == 2
    assert "nothing runs on" in capsys.readouterr().err
    assert nightly_due(settings, "24/7", SETTLE, day="", as_json=False) == 0


def test_an_error_of_ours_does_not_pass_for_failed_checks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule, "run_child", lambda *_, **__: 1 / 0)
    assert nightly_run(settings, "24/7", SETTLE, day="", as_json=False) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_run_that_another_process_has_planned_is_gone_on_with(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_of(settings).write(NightRun(day=YESTERDAY, calendar="24/7", log_id="log", spans={1: (0, 2)}, tries=1))
    nightly(monkeypatch, "exit 0")
    assert nightly_run(settings, "24/7", SETTLE, day="", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["first"], told["end"], told["tries"]) == ("1:0", "1:2", 2)
