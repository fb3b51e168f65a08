"""When a delivery is tried again, and when an endpoint is left alone."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.hooks.retries import JITTER, NS, SCHEDULE_S, Breaker, due_after


def test_the_schedule_is_that_of_the_specification() -> None:
    pauses = [due_after(tries, 0, "m", SCHEDULE_S) for tries in range(1, 11)]
    expected = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    for pause, seconds in zip(pauses[:9], expected, strict=True):
        assert pause is not None
        assert seconds <= pause / NS <= seconds * (1 + JITTER)
    assert pauses[9] is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 9), st.text(max_size=20), st.floats(0, 86_400))
def test_retry_after_is_a_lower_bound_and_the_jitter_is_the_same_in_every_process(
    tries: int, message: str, after: float
) -> None:
    due = due_after(tries, 7, message, SCHEDULE_S, after)
    assert due is not None
    assert due == due_after(tries, 7, message, SCHEDULE_S, after)
    assert due - 7 >= round(after * NS) - 1
    assert due - 7 >= SCHEDULE_S[tries - 1] * NS


def test_what_failed_together_does_not_come_back_together() -> None:
    dues = sorted(due_after(2, 0, f"m{number}", SCHEDULE_S) or 0 for number in range(200))
    assert (dues[-1] - dues[0]) / NS > 0.9 * JITTER * 300


def test_a_breaker_opens_after_failures_in_a_row_then_one_attempt_decides() -> None:
    breaker = Breaker(failures=3, first_s=10, longest_s=60)
    for _ in range(2):
        breaker.saw(success=False, now_ns=0)
    breaker.saw(success=True, now_ns=0)
    for now in range(3):
        assert breaker.room(now, 4) == 4
        breaker.saw(success=False, now_ns=now)
    assert breaker.is_open
    assert breaker.room(3 + 5 * NS, 4) == 0
    assert breaker.room(3 + 10 * NS, 4) == 1
    breaker.saw(success=True, now_ns=11 * NS)
    assert breaker.room(11 * NS, 4) == 4


@pytest.mark.parametrize(("failures", "pause_s"), [(3, 10), (4, 20), (5, 40), (6, 60), (40, 60)])
def test_the_pause_doubles_up_to_a_limit(failures: int, pause_s: int) -> None:
    breaker = Breaker(failures=3, first_s=10, longest_s=60)
    for _ in range(failures):
        breaker.saw(success=False, now_ns=0)
    assert breaker.open_until == pause_s * NS
