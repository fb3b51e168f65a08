"""What the soak says of memory: a leak shows at rest, what is given back does not."""

import numpy as np
import pytest

from tests.faults.memory import Sample, as_rows, growth, slope_at_rest, slope_per_hour, table

HOUR_S = 3_600
AT = np.arange(HOUR_S, dtype=np.float64)


def noise(size: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(1).exponential(size, HOUR_S)


@pytest.mark.parametrize("leak", [0.0, 3.0, 50.0])
def test_a_leak_is_found_under_the_noise_of_work(leak: float) -> None:
    held = 400 + leak * AT / HOUR_S + noise(10)
    for slope in (slope_at_rest(AT, held), slope_per_hour(AT, held)):
        assert slope.low <= slope.value <= slope.high
    assert slope_at_rest(AT, held).value == pytest.approx(leak, abs=0.5)
    assert slope_per_hour(AT, held).value == pytest.approx(leak, abs=3)


def test_what_is_taken_for_two_minutes_and_given_back_is_not_held_at_rest() -> None:
    held = 400 + noise(1)
    held[3_300:3_420] += 100
    assert slope_per_hour(AT, held).value > 5
    assert abs(slope_at_rest(AT, held).value) < 0.1


def test_what_stays_after_a_step_is_held_at_rest() -> None:
    held = 400 + noise(1) + 30 * (AT > HOUR_S / 2)
    assert slope_at_rest(AT, held).value > 30


def test_stretches_that_were_hardly_seen_are_left_out() -> None:
    at = np.arange(200, HOUR_S + 20, dtype=np.float64)
    held = np.full(len(at), 400.0)
    held[at < 300] += 50
    held[at >= HOUR_S] += 50
    assert slope_at_rest(at, held).value == pytest.approx(0, abs=1e-9)


def test_of_too_short_a_time_nothing_is_said() -> None:
    assert np.isnan(slope_at_rest(AT[:700], AT[:700]).value)
    assert np.isnan(slope_per_hour(AT[:0], AT[:0]).value)


def test_each_process_is_told_and_one_that_was_replaced_says_so() -> None:
    samples = [
        Sample(float(at), name, 1 + (name == "b" and at > 1_000), 1024 * (100 + at // 36 * (name == "b")), 0)
        for at in range(0, HOUR_S, 5)
        for name in ("a", "b")
    ]
    a, b = growth(samples, 600)
    assert (a.process, a.pids, a.start, a.end) == ("a", 1, 100, 100)
    assert a.rest.value == pytest.approx(0, abs=1e-9)
    assert (b.process, b.pids) == ("b", 2)
    assert b.rest.value == pytest.approx(100, rel=0.05)
    assert "2 processes, one after the other" in table([a, b])
    assert [row["process"] for row in as_rows([a, b])] == ["a", "b"]
