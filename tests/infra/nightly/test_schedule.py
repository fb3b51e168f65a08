"""One night is run once, whoever asks for it, and a second try is given the same stretch of the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from infra.nightly.night_runs import NightRuns, RunHeld, Spans
from infra.nightly.schedule import Night, NightReport, run_night, wanted_run
from infra.nightly.trading_days import trading_days
from schemas.errors import BackendError, InputError
from streams.schedule import UtcDays

DAY_NS = 86_400 * 1_000_000_000
SETTLE_NS = 900 * 1_000_000_000
TODAY = 20_784  # 2026-11-27
AFTER = (TODAY + 1) * DAY_NS + SETTLE_NS


@dataclass
class Desk:
    """A log that says where it stands, and a nightly that returns what it is told to."""

    directory: Path
    codes: list[int] = field(default_factory=lambda: [0])
    held: dict[int, tuple[int, int]] = field(default_factory=lambda: {0: (10, 20), 2: (5, 9)})
    log_id: str = "log"
    said: str = ""
    asked: list[tuple[int, int]] = field(default_factory=list)
    ran: list[Spans] = field(default_factory=list)
    now_ns: int = AFTER

    @property
    def runs(self) -> NightRuns:
        return NightRuns(self.directory)

    def spans(self, begin_ns: int, end_ns: int) -> dict[int, tuple[int, int]]:
        self.asked.append((begin_ns, end_ns))
        return dict(self.held)

    @contextmanager
    def log(self) -> "Iterator[Desk]":
        yield self

    def nightly(self, spans: Spans, lock: int) -> tuple[int, str]:
        with pytest.raises(RunHeld), self.runs.locked():
            pass
        self.ran.append(spans)
        return self.codes.pop(0), self.said

    def run(self, wanted: date | None = None, night: Night | None = None) -> NightReport:
        night = night or Night(UtcDays("24/7"), SETTLE_NS, wanted)
        return run_night(night, self.runs, self.log, self.nightly, lambda: self.now_ns)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "schedule")


def test_the_day_that_is_over_is_run_with_its_stretch_of_the_log(desk: Desk) -> None:
    report = desk.run()
    assert desk.asked == [(TODAY * DAY_NS, (TODAY + 1) * DAY_NS)]
    assert desk.ran == [{0: (10, 20), 2: (5, 9)}]
    assert (report.state, report.exit_code, report.day) == ("done", 0, date(2026, 11, 27))
    assert (report.first, report.end, report.log_id) == ("0:10,2:5", "0:20,2:9", "log")


def test_a_second_run_of_a_day_does_nothing_and_asks_nobody(desk: Desk) -> None:
    desk.run()
    desk.held = {0: (0, 1)}
    report = desk.run()
    assert report.state == "already done"
    assert (report.exit_code, report.first, report.end) == (0, "0:10,2:5", "0:20,2:9")
    assert len(desk.asked) == len(desk.ran) == 1


def test_the_next_day_is_run_again(desk: Desk) -> None:
    desk.codes = [0, 0]
    desk.run()
    desk.now_ns += DAY_NS
    assert desk.run().day == date(2026, 11, 28)
    assert len(desk.ran) == 2


@pytest.mark.parametrize("code", [1, 2, 137])
def test_the_status_of_the_nightly_is_returned_and_the_next_try_is_given_the_same_stretch(
    desk: Desk, code: int
) -> None:
    desk.codes = [code, 0]
    report = desk.run()
    assert (report.state, report.exit_code, report.tries) == ("failed", code, 1)
    desk.held = {0: (15, 20), 2: (5, 9)}  # retention has moved on since
    report = desk.run()
    assert (report.state, report.exit_code, report.tries) == ("done", 0, 2)
    assert desk.ran == [{0: (10, 20), 2: (5, 9)}] * 2


def test_a_run_that_was_killed_is_run_again_with_the_same_stretch(desk: Desk) -> None:
    class Killed(BaseException):
        pass

    def killed(_spans: Spans, _lock: int) -> tuple[int, str]:
        raise Killed

    night = Night(UtcDays("24/7"), SETTLE_NS)
    with pytest.raises(Killed):
        run_night(night, desk.runs, desk.log, killed, lambda: desk.now_ns)
    desk.held = {}
    assert (desk.run().state, desk.ran) == ("done", [{0: (10, 20), 2: (5, 9)}])


def test_offsets_of_another_log_are_forgotten(desk: Desk) -> None:
    desk.codes = [2, 0]
    desk.run()
    desk.log_id, desk.held = "new", {0: (0, 3)}
    report = desk.run()
    assert desk.ran[1] == {0: (0, 3)}
    assert (report.log_id, report.tries) == ("new", 2)


def test_a_day_of_which_the_log_has_nothing_is_not_run_and_not_forgotten(desk: Desk) -> None:
    desk.held = {}
    report = desk.run()
    assert (report.state, report.exit_code, desk.ran) == ("nothing on the log", 0, [])
    desk.held = {1: (0, 4)}
    assert desk.run().state == "done"


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_a_day_without_a_session_is_not_run(desk: Desk) -> None:
    night = Night(trading_days("XNYS"), SETTLE_NS, date(2026, 11, 26))
    assert desk.run(night=night).state == "no session"
    assert desk.ran == desk.asked == []


def test_a_session_that_is_open_is_refused_before_anybody_is_asked(desk: Desk) -> None:
    with pytest.raises(InputError, match="has settled at"):
        desk.run(date(2026, 11, 28))
    assert desk.ran == desk.asked == []


def test_a_second_run_at_once_is_refused(desk: Desk) -> None:
    with desk.runs.locked(), pytest.raises(RunHeld):
        desk.run()
    assert desk.ran == []


def test_a_log_that_does_not_answer_leaves_the_day_to_be_run(desk: Desk) -> None:
    @contextmanager
    def away() -> "Iterator[Desk]":
        raise BackendError("no broker")
        yield desk

    night = Night(UtcDays("24/7"), SETTLE_NS)
    with pytest.raises(BackendError):
        run_night(night, desk.runs, away, desk.nightly, lambda: desk.now_ns)
    assert desk.run().state == "done"


def test_what_the_nightly_said_is_passed_on(desk: Desk) -> None:
    desk.said = '{"rows": 12}\n'
    assert desk.run().nightly == {"rows": 12}
    desk.said, desk.codes = "it broke", [2]
    assert desk.run(date(2026, 11, 26)).nightly == "it broke"


def test_whether_something_is_due_is_told_without_running_it(desk: Desk) -> None:
    night = Night(UtcDays("24/7"), SETTLE_NS)
    report, day = wanted_run(night, desk.runs, AFTER)
    assert report.state == "due"
    assert day is not None
    assert day.day == report.day == date(2026, 11, 27)
    desk.run()
    report, day = wanted_run(night, desk.runs, AFTER)
    assert (report.state, day) == ("already done", None)
