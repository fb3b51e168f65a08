"""The nightly's timetable: its hour whatever the season, another try where it could not be done, and a swift end."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apscheduler.triggers.date import DateTrigger

from infra.nightly.timetable import TRIES, daily, keep
from schemas.errors import SettingsError
from tests.services.processes import until

NEVER = DateTrigger(datetime(2999, 1, 1, tzinfo=UTC))
SOON, LATER = timedelta(milliseconds=10), timedelta(days=1)
WITHIN_S = 30


@dataclass
class Running:
    """A timetable in a thread; its command is a script that writes a line each time."""

    lines: Path
    stop: threading.Event

    def ran(self) -> list[str]:
        return self.lines.read_text().split() if self.lines.exists() else []

    def has_run(self, times: int) -> None:
        until(f"run {times}", lambda: len(self.ran()) >= times, within_s=WITHIN_S)


@contextmanager
def timetable(
    tmp_path: Path,
    script: str,
    *,
    trigger: object = NEVER,
    first_after: timedelta = SOON,
    again_after: timedelta = SOON,
) -> Iterator[Running]:
    lines, stop = tmp_path / "lines", threading.Event()
    command = ["/bin/sh", "-c", f"echo $$ >> {lines}; {script}"]
    thread = threading.Thread(
        target=keep, args=(trigger, command, stop), kwargs={"first_after": first_after, "again_after": again_after}
    )
    thread.start()
    try:
        yield Running(lines, stop)
    finally:
        stop.set()
        thread.join(WITHIN_S)
        assert not thread.is_alive()


def test_the_hour_is_utc_on_both_sides_of_a_change_of_summer_time() -> None:
    trigger, at = daily("22:30"), datetime(2026, 10, 24, 22, 30, tzinfo=UTC)
    for _ in range(3):
        found = trigger.get_next_fire_time(None, at - timedelta(seconds=1))
        assert found == at
        at += timedelta(days=1)


@pytest.mark.parametrize("text", ["", "25:00", "22.30", "noon"])
def test_an_hour_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"TICKWIRE_NIGHTLY__AT: expected a time of day in UTC such as 22:30"):
        daily(text)


def test_the_command_runs_when_its_hour_comes(tmp_path: Path) -> None:
    hour = DateTrigger(datetime.now(UTC) + SOON)
    with timetable(tmp_path, "exit 0", trigger=hour, first_after=LATER) as running:
        running.has_run(1)


def test_an_hour_that_passed_while_nothing_ran_is_made_up_at_the_start(tmp_path: Path) -> None:
    with timetable(tmp_path, "exit 0") as running:
        running.has_run(1)


@pytest.mark.parametrize("code", [2, 75, 137])
def test_what_could_not_be_done_is_tried_again_but_not_for_ever(tmp_path: Path, code: int) -> None:
    with timetable(tmp_path, f"exit {code}") as running:
        running.has_run(TRIES)
        running.stop.wait(0.3)  # long enough for thirty more
        assert len(running.ran()) == TRIES


@pytest.mark.parametrize("code", [0, 1])
def test_what_is_done_or_fails_its_checks_is_not_tried_again(tmp_path: Path, code: int) -> None:
    with timetable(tmp_path, f"exit {code}") as running:
        running.has_run(1)
        running.stop.wait(0.3)
        assert len(running.ran()) == 1


def test_two_hours_that_come_at_once_run_one_after_the_other(tmp_path: Path) -> None:
    hour = DateTrigger(datetime.now(UTC) + SOON)
    inside = tmp_path / "inside"
    script = f"mkdir {inside} || exit 1; sleep 0.2; rmdir {inside}; echo whole >> {tmp_path / 'lines'}"
    with timetable(tmp_path, script, trigger=hour) as running:
        running.has_run(4)
        assert running.ran().count("whole") == 2


def test_a_command_that_runs_is_told_to_end_with_the_timetable(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    script = f"trap 'echo told >> {lines}; exit 0' TERM; echo ready >> {lines}; while :; do sleep 0.05; done"
    with timetable(tmp_path, script) as running:
        running.has_run(2)
    assert running.ran()[1:] == ["ready", "told"]


def test_the_process_ends_when_it_is_told_to(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nimport sys\nfrom infra.cli.schedule import schedule\nfrom infra.settings import Settings\n"
        "print('begins', flush=True)\nschedule(Settings(data=Path(sys.argv[1])), '22:30')\nprint('ended')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begins\n"
        while "Scheduler started" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
        assert process.stdout.read() == "ended\n"
