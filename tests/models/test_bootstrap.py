"""Intervals: each draw is what one gets by copying the drawn blocks' rows, and the intervals hold what they promise."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from models.bootstrap import Blocks, percentile, reflected
from schemas.errors import TrainingError

NS = 1_000_000_000
RNG = np.random.default_rng(3)
TS = np.sort(RNG.integers(0, 3_000, 400)) * NS
BLOCKS = Blocks.of(TS, block_ns=200 * NS, draws=40, seed=1)


def copied(draw: int) -> NDArray[np.int64]:
    """Row numbers of a draw, each as often as its block was drawn."""
    return np.repeat(np.arange(len(TS)), BLOCKS.times[draw, BLOCKS.of_row].astype(int))


def test_rows_of_the_same_stretch_of_time_are_one_block() -> None:
    assert [len(set((TS[BLOCKS.of_row == block] // (200 * NS)).tolist())) for block in range(15)] == [1] * 15
    assert (BLOCKS.times.sum(axis=1) == 15).all()


def test_a_ratio_of_sums_is_that_of_the_copied_rows() -> None:
    above, below = RNG.normal(size=400), (RNG.random(400) < 0.5).astype(float)
    value, drawn = BLOCKS.ratio(above, below)
    assert value == pytest.approx(above.sum() / below.sum())
    for draw in range(40):
        rows = copied(draw)
        assert drawn[draw] == pytest.approx(above[rows].sum() / below[rows].sum())


def test_a_rank_correlation_is_that_of_the_copied_rows_with_ties() -> None:
    x = RNG.normal(size=400).round(1)
    y = (x + RNG.normal(size=400) * 2).round(1)
    value, drawn = BLOCKS.rank_correlation(x, y)
    assert value == pytest.approx(spearmanr(x, y).statistic)
    for draw in range(40):
        rows = copied(draw)
        assert drawn[draw] == pytest.approx(spearmanr(x[rows], y[rows]).statistic)


def test_a_constant_score_has_no_rank_correlation() -> None:
    value, drawn = BLOCKS.rank_correlation(np.full(400, 0.5), RNG.normal(size=400))
    assert np.isnan(value)
    assert np.isnan(drawn).all()


def test_the_same_seed_gives_the_same_draws_and_another_seed_others() -> None:
    assert np.array_equal(BLOCKS.times, Blocks.of(TS, block_ns=200 * NS, draws=40, seed=1).times)
    assert not np.array_equal(BLOCKS.times, Blocks.of(TS, block_ns=200 * NS, draws=40, seed=2).times)


def test_what_happened_in_few_blocks_has_a_value_but_no_interval() -> None:
    rare = np.isin(BLOCKS.of_row, [2, 5]).astype(float)
    found = percentile(*BLOCKS.ratio(rare * 3.0, rare))
    assert found.value == pytest.approx(3.0)
    assert np.isnan([found.low, found.high]).all()


def test_too_little_time_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"at least 10 blocks of 400 s, got 8: test on more time"):
        Blocks.of(TS, block_ns=400 * NS)


def test_a_reflected_interval_is_mirrored_at_the_value_and_not_below_zero() -> None:
    drawn = np.linspace(0.02, 0.10, 1_001)
    plain, mirrored = percentile(0.05, drawn, 0.9), reflected(0.05, drawn, 0.9)
    assert mirrored.low == pytest.approx(max(0.0, 0.1 - plain.high))
    assert mirrored.high == pytest.approx(0.1 - plain.low)
    assert reflected(0.01, drawn).low == 0.0


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says_where_rows_depend_on_each_other() -> None:
    rng = np.random.default_rng(11)
    ts, held, naive = np.arange(6_000) * NS, 0, 0
    for series in range(200):
        moves = rng.normal(size=6_020)
        x = np.convolve(moves, np.full(21, 1.0), "valid")  # overlapping horizons of 20 rows
        found = percentile(*Blocks.of(ts, block_ns=100 * NS, draws=300, seed=series).ratio(x, np.ones(6_000)))
        held += found.low <= 0.0 <= found.high
        naive += abs(x.mean()) <= 1.96 * x.std() / np.sqrt(6_000)
    assert 0.88 * 200 <= held <= 0.99 * 200
    assert naive < 0.5 * 200  # rows taken for independent promise far too much
