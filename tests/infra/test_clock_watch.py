"""A wall clock that is set back ends the scoring process, which would sleep as long as that was."""

import time
from contextlib import nullcontext

import pytest

from infra import clock_watch
from infra.clock_watch import ClockWatch
from schemas.errors import BackendError

S = 1_000_000_000


@pytest.mark.parametrize(
    ("steps_s", "stops"),
    [
        pytest.param([0, 0], 0, id="nothing happens"),
        pytest.param([3_600, 0], 1, id="set forward, then back"),
        pytest.param([3_600, 3_600], 0, id="set forward"),
        pytest.param([-0.5, -1.0, -1.5], 0, id="small corrections"),
        pytest.param([-1.5], 1, id="back by more than a second"),
        pytest.param([0, -3_600, -3_600], 1, id="back by an hour, once"),
    ],
)
def test_only_a_step_back_of_more_than_a_second_ends_it(steps_s: list[float], stops: int) -> None:
    ahead = iter([5 * S, *(5 * S + round(step * S) for step in steps_s)])
    asked: list[bool] = []
    watch = ClockWatch(lambda: asked.append(True), lambda: next(ahead))
    for _ in steps_s:
        watch.look()
    assert len(asked) == stops
    with pytest.raises(BackendError, match="set back by") if stops else nullcontext():
        watch.complain()


def test_it_looks_by_itself_and_time_that_passes_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_watch, "EVERY_S", 0.001)
    asked: list[bool] = []
    with ClockWatch(lambda: asked.append(True)) as watch:
        before = watch._before_ns
        deadline = time.monotonic() + 20
        while watch._before_ns == before and time.monotonic() < deadline:
            pass
    assert (asked, watch._thread.is_alive()) == ([], False)
    assert abs(watch._before_ns - before) < S


def ends(*ahead_ns: int) -> None:
    """As a rebuild does that is told to stop."""
    ahead = iter(ahead_ns)
    with ClockWatch(lambda: None, lambda: next(ahead)) as watch:
        watch.look()
        raise SystemExit(0)


def test_what_it_ended_has_not_come_to_its_end_by_itself() -> None:
    with pytest.raises(BackendError, match="set back by 3"):
        ends(5 * S, 2 * S)
    with pytest.raises(SystemExit):
        ends(5 * S, 5 * S)
