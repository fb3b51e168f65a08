"""A model whose errors grow is found out; quiet losses are not alarmed; River's detectors continue from bytes."""

import msgspec
import numpy as np
import pytest
from river.drift import PageHinkley

from models.drift import NS, Block, DriftRules
from models.loss_drift import LIMIT, LossDrift, LossSeries, SeriesState, baseline_of, page_threshold
from schemas.drift import DriftSignal
from tests.models.quiet_market import DAY_MINUTES, WEIGHTS, Day, day

RULES = DriftRules(least_labels=6)
FLIPPED = WEIGHTS * np.array([1.0, -1.0, 1.0, 1.0])


def signals(drift: LossDrift, days: list[Day]) -> list[DriftSignal]:
    return [each for one in days for block in one.blocks() for each in drift.fold(block)]


def test_a_feature_whose_sign_flips_is_found_by_what_the_model_gets_wrong() -> None:
    drift = LossDrift(RULES, "m1")
    assert not signals(drift, [day(1, minutes=600)])
    found = signals(drift, [day(1, day_number=1, minutes=240, meaning=FLIPPED)])
    assert found
    first = found[0]
    assert (first.kind, first.what, first.test, first.symbol) == ("residual", "log_loss", "page_hinkley", "*")
    assert first.statistic > first.threshold > 0
    assert first.tested == 4
    assert first.ts_event <= day(1, day_number=1).ts[0] + 120 * 60 * NS, "within two hours"


def test_errors_that_shrink_are_no_drift() -> None:
    drift = LossDrift(RULES, "m1")
    assert not signals(drift, [day(1, minutes=600, meaning=FLIPPED), day(1, day_number=1, minutes=600)])


def test_a_slow_rise_is_found_by_adwin_on_all_symbols_together() -> None:
    rng = np.random.default_rng(8)
    drift = LossDrift(DriftRules(least_labels=1), "m1")
    found: list[DriftSignal] = []
    for minute in range(DAY_MINUTES * 2):
        rise = max(0.0, minute - 600) * 0.000006
        found += drift.fold(even_block(minute, rng.normal(0.65 + rise, 0.05, 40)))
    assert "adwin" in {each.test for each in found}
    adwin = next(each for each in found if each.test == "adwin")
    assert adwin.statistic > 0
    assert adwin.p_value == pytest.approx(0.05 / 4 / DAY_MINUTES)


def even_block(minute: int, losses: "np.ndarray[tuple[int], np.dtype[np.float64]]", symbols: int = 1) -> Block:
    """A block whose rows have these log losses."""
    n = len(losses)
    none = np.full(n, np.nan)
    names = tuple(f"S{i}" for i in range(symbols))
    return Block(
        minute * 60 * NS, (minute + 1) * 60 * NS, names, np.arange(n) % symbols, none[:, None], np.zeros(n, np.bool_),
        np.ones(n), np.exp(-np.maximum(losses, 1e-3)), none,
    )  # fmt: skip


def test_no_more_quiet_days_are_alarmed_than_stated() -> None:
    """Stated for the loss: 2.5 % of quiet days. Of 20 days, three or more would be a chance of 1 in 77 at that rate."""
    assert sum(bool(quiet_alarms(seed, symbols=4)) for seed in range(20)) < 3


def test_a_hundred_symbols_do_not_multiply_the_alarms() -> None:
    """With the threshold of one symbol, the baselines' own error alone would alarm several of a hundred a day."""
    assert quiet_alarms(100, symbols=100) == 0
    drift = LossDrift(RULES, "m1")
    drift.series = {f"S{i}": LossSeries(RULES) for i in range(100)}
    assert drift.threshold == page_threshold(DAY_MINUTES * 100 / 0.0125)
    assert drift.threshold > LossDrift(RULES, "m1").threshold + 4


def quiet_alarms(seed: int, symbols: int) -> int:
    """Signals of a day of losses with skewed, autocorrelated noise, after the baseline was learnt."""
    drift = LossDrift(DriftRules(least_labels=1), "m1")
    noise = autocorrelated(np.random.default_rng([9, seed]), 120 + DAY_MINUTES, symbols, 0.3)
    return sum(len(drift.fold(even_block(m, 0.7 + 0.05 * row, symbols))) for m, row in enumerate(noise))


def autocorrelated(
    rng: np.random.Generator, steps: int, symbols: int, rho: float
) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Skewed noise of mean 0, each step resembling the one before."""
    shocks = (rng.standard_gamma(6.0, (steps, symbols)) - 6.0) / np.sqrt(6.0)
    x = shocks.copy()
    for i in range(1, steps):
        x[i] += rho * x[i - 1]
    return x


@pytest.mark.parametrize("blocks", [200.0, 2000.0])
def test_the_threshold_of_page_hinkley_gives_the_run_length_that_was_asked_for(blocks: float) -> None:
    """River's own detector on normal noise: alarms in as many blocks on average, within a third (few runs, an approximation)."""
    rng = np.random.default_rng(12)
    lengths = []
    for _ in range(60):
        page = PageHinkley(min_instances=1, delta=0.5, threshold=page_threshold(blocks), alpha=1.0, mode="up")
        for _ in range(3000):  # its mean is known by then: the reference is the true one
            page._x_mean.update(float(rng.normal()))
        n = 0
        while not page.drift_detected:
            page.update(float(rng.normal()))
            n += 1
        lengths.append(n)
    assert np.mean(lengths) == pytest.approx(blocks, rel=0.35)


def test_the_baseline_bounds_the_deviation_from_above() -> None:
    rng = np.random.default_rng(13)
    below = sum(baseline_of(rng.normal(0.7, 0.05, 120).tolist()).deviation < 0.05 for _ in range(300))
    assert below <= 3


def test_losses_that_never_vary_and_then_do_are_drift_and_no_division_by_zero() -> None:
    series = LossSeries(DriftRules(baseline_blocks=30))
    for _ in range(30):
        series.take(0.5, 5.0)
    assert series.baseline is not None
    found = [series.take(0.6, 5.0)[0] for _ in range(10)]
    assert any(each is not None for each in found)


def test_a_wild_block_counts_as_the_limit_and_alarms_nobody() -> None:
    rng = np.random.default_rng(14)
    series = LossSeries(DriftRules())
    for _ in range(200):
        series.take(float(rng.normal(0.7, 0.05)), 10.0)
    assert series.baseline is not None
    assert series.baseline.standard(1e9) == LIMIT
    assert series.take(1e9, 10.0) == (None, None)


def test_labels_that_did_not_move_and_missing_scores_count_for_nothing() -> None:
    block = even_block(0, np.full(4, 0.5))
    block.label[0], block.score[1] = 0.5, np.nan
    losses = block.losses(block.score)
    assert np.isnan(losses).tolist() == [True, True, False, False]
    np.testing.assert_allclose(losses[2:], 0.5)


def test_a_snapshot_at_any_block_goes_on_with_the_same_signals() -> None:
    blocks = [*day(3, minutes=200).blocks(), *day(3, day_number=1, minutes=240, meaning=FLIPPED).blocks()]
    whole = LossDrift(RULES, "m1")
    expected = [each for block in blocks for each in whole.fold(block)]
    assert expected
    found: list[DriftSignal] = []
    drift = LossDrift(RULES, "m1")
    for block in blocks:
        saved = msgspec.msgpack.encode(drift.snapshot())
        drift = LossDrift(RULES, "m1")
        drift.restore(msgspec.msgpack.decode(saved, type=dict[str, SeriesState]))
        found += drift.fold(block)
    assert found == expected
    assert drift.snapshot() == whole.snapshot()
