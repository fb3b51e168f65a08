"""What must have been stored by now: neither what is on its way is called lost, nor what is lost called on its way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from processors.batch import NS
from schemas.rows import ScoreStatus
from streams.settled import Patience, settled
from tests.fakes import SteppingClock

LOG = "log"
PATIENCE = Patience(settle_s=5, most_s=60)
Says = Callable[[float], dict[int, int] | None]


@dataclass
class Process:
    """Says at every moment (s since the beginning) how far it is; none while it is down. `starts`: when it was started."""

    clock: SteppingClock
    says: Says
    starts: Sequence[float] = (0.0,)
    lag: int = 7
    log_id: str = LOG

    def __post_init__(self) -> None:
        self.zero = self.clock.now_ns()

    def scores(self) -> Sequence[ScoreStatus]:
        at = (self.clock.now_ns() - self.zero) / NS
        positions = self.says(at)
        if positions is None:
            return []
        started = max(start for start in self.starts if start <= at)
        return [
            ScoreStatus(
                ts=self.clock.now_ns(), group="0", log_id=self.log_id, partitions=(0, 1),
                offsets={str(p): offset for p, offset in positions.items()}, lag={"0": self.lag, "1": self.lag},
                provider="", models={}, features_id="f", events={}, uptime_s=at - started + 100 * (started == 0),
            )
        ]  # fmt: skip


def asked(
    says: Says, ends: dict[int, int], *, starts: Sequence[float] = (0.0,), **process: object
) -> tuple[dict[int, int], float]:
    clock = SteppingClock()
    began = clock.now_ns()
    found = settled(Process(clock, says, starts, **process), clock, LOG, ends, PATIENCE)  # type: ignore[arg-type]
    return dict(found), (clock.now_ns() - began) / NS


def test_a_process_that_is_at_the_end_has_stored_it_two_epochs_later() -> None:
    assert asked(lambda at: {0: 10, 1: 20}, {0: 10, 1: 20}) == ({0: 10, 1: 20}, 5.0)


def test_what_is_beyond_the_end_that_was_asked_for_is_not_judged() -> None:
    assert asked(lambda at: {0: 500, 1: 600}, {0: 10, 1: 20})[0] == {0: 10, 1: 20}


def test_a_process_that_is_behind_is_waited_for() -> None:
    found, waited = asked(lambda at: {0: int(at), 1: 20}, {0: 10, 1: 20})
    assert (found, waited) == ({0: 10, 1: 20}, 15.0)


def test_a_process_that_is_far_behind_is_waited_for_as_long_as_it_moves() -> None:
    found, waited = asked(lambda at: {0: int(at), 1: 20}, {0: 1_000, 1: 20})
    assert (found, waited) == ({0: 1_000, 1: 20}, 1_005.0)


def test_a_process_that_stays_behind_is_judged_to_where_it_is() -> None:
    found, waited = asked(lambda at: {0: 4, 1: 20}, {0: 10, 1: 20})
    assert found == {0: 4, 1: 20}
    assert 60 <= waited < 70


def test_a_process_that_died_meanwhile_has_to_live_through_it_again() -> None:
    def says(at: float) -> dict[int, int] | None:
        return None if 2 < at < 6 else {0: 10, 1: 20}

    found, waited = asked(says, {0: 10, 1: 20}, starts=(0.0, 6.0))
    assert found == {0: 10, 1: 20}
    assert waited >= 6 + 5


def test_where_nobody_scores_nothing_is_sure() -> None:
    found, waited = asked(lambda at: None, {0: 10})
    assert (found, 12 <= waited < 14) == ({}, True)


def test_the_word_of_a_process_on_another_log_does_not_count() -> None:
    assert asked(lambda at: {0: 10, 1: 20}, {0: 10}, log_id="other")[0] == {}


def test_a_process_that_resumed_at_the_end_has_folded_nothing_and_has_no_lag() -> None:
    assert asked(lambda at: {}, {0: 10, 1: 20}, lag=0)[0] == {0: 10, 1: 20}
    assert asked(lambda at: {}, {0: 10, 1: 20}, lag=3)[0] == {0: 0, 1: 0}


def test_an_empty_log_has_nothing_to_wait_for() -> None:
    assert asked(lambda at: None, {0: 0, 1: 0}) == ({}, 0.0)
