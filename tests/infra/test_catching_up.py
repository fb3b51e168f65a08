"""A scoring process that folds is waited for, however long it takes; one that stands still is given up with what is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from rich.progress import Progress

from infra.cli.catching_up import STILL_S, await_scoring
from schemas.errors import BackendError, StoreUnavailable
from schemas.rows import ScoreStatus


@dataclass
class Machine:
    """Time passes as it pauses; `folded` by time, `backlog` records in all; ready when they are folded."""

    folded: Callable[[float], int]
    backlog: int = 1_000_000
    answers_after_s: float = 0.0
    now: float = 0.0
    bar: Progress = field(default_factory=lambda: Progress(disable=True))

    def scores(self) -> Sequence[ScoreStatus]:
        if self.now < self.answers_after_s:
            raise StoreUnavailable("not yet")
        done = self.folded(self.now)
        return [
            ScoreStatus(
                ts=0, group="0", log_id="log", partitions=(0,), offsets={"0": done}, lag={"0": self.backlog - done},
                provider="cpu", models={}, features_id="f", events={"folded": done}, uptime_s=self.now,
            )
        ]  # fmt: skip

    def ready(self) -> bool:
        return self.now >= self.answers_after_s and self.folded(self.now) >= self.backlog

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def run(self) -> str:
        """What is shown at the end."""
        try:
            await_scoring(self.ready, self.scores, self.bar, lambda: self.now, self.pause)
        finally:
            shown = self.bar.tasks[0].description
        return shown


def test_a_slow_machine_is_waited_for_and_what_is_left_is_shown() -> None:
    slow = Machine(lambda now: int(now / (STILL_S / 2)) * 100_000, answers_after_s=STILL_S / 3)
    assert slow.run() == "scoring catches up with the log: 100,000 records wait"
    assert slow.now >= 4 * STILL_S
    assert slow.bar.tasks[0].total == 1_000_000


@pytest.mark.parametrize("folds", [0, 400_000])
def test_one_that_stands_still_is_given_up_with_what_is_known(folds: int) -> None:
    stuck = Machine(lambda now: min(folds, int(now * 10_000)))
    with pytest.raises(BackendError, match=rf"{folds:,} records folded, {1_000_000 - folds:,} wait.*score\.log"):
        stuck.run()
    assert STILL_S < stuck.now < 2.1 * STILL_S


def test_one_that_has_caught_up_and_is_not_ready_all_the_same_is_given_up() -> None:
    live = Machine(lambda now: 950_000 + int(now))
    with pytest.raises(BackendError, match="has not come nearer"):
        live.run()
    assert live.now < 2.1 * STILL_S


def test_one_that_never_says_anything_is_given_up() -> None:
    with pytest.raises(BackendError, match="scoring is not ready"):
        Machine(lambda now: 0, answers_after_s=1e9).run()
