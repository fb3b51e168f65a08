"""Confidence by resampling blocks of time.

Labels overlap, and calm and storm come in stretches: rows are not independent, and an interval that takes them for so is far
too narrow. So whole blocks of time, with the rows of all symbols in them, are drawn with replacement (Künsch 1989, blocks
that do not overlap). Blocks must be much longer than the horizon. An interval says what a day like this one could have
shown; it knows nothing of days of another kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.dataset import Integers
from models.model import Column, Matrix
from schemas.errors import TrainingError

BLOCK_NS: Final = 300_000_000_000
DRAWS: Final = 1_000
LEVEL: Final = 0.95
FEWEST_BLOCKS: Final = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value and the confidence interval around it; NaN where it cannot be told."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Blocks:
    """n rows in K blocks of time, and how often each block was drawn: `times` float64 [draws, K]."""

    of_row: Integers
    times: Matrix

    @classmethod
    def of(cls, ts: Integers, *, block_ns: int = BLOCK_NS, draws: int = DRAWS, seed: int = 0) -> "Blocks":
        """The same rows and seed give the same draws. Raises TrainingError where there are too few blocks to say anything."""
        _, of_row = np.unique(ts // block_ns, return_inverse=True)
        count = int(of_row.max(initial=-1)) + 1
        if count < FEWEST_BLOCKS:
            raise TrainingError(
                f"confidence needs at least {FEWEST_BLOCKS} blocks of {block_ns / 1e9:g} s, got {count}: test on more time"
            )
        times = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=draws)
        return cls(of_row.astype(np.int64), times.astype(np.float64))

    @classmethod
    def undrawn(cls, ts: Integers) -> "Blocks":
        """All rows in one block of which nothing is drawn: values alone, every interval is NaN."""
        return cls(np.zeros(len(ts), np.int64), np.empty((0, 1)))

    def sums(self, columns: Sequence[Column]) -> tuple[Column, Matrix]:
        """Sums of each column over all rows, float64 [c], and over the rows of every draw, [draws, c]."""
        blocks = self.times.shape[1]
        by_block = np.stack([np.bincount(self.of_row, column, minlength=blocks) for column in columns], axis=1)
        return by_block.sum(axis=0), self.times @ by_block

    def ratio(self, above: Column, below: Column) -> tuple[float, Column]:
        """Σ above / Σ below over all rows, and in every draw [draws]; NaN where nothing is below.

        Every draw is NaN where fewer than `FEWEST_BLOCKS` blocks have anything below: that says nothing about others.
        """
        total, drawn = self.sums([above, below])
        held = np.count_nonzero(np.bincount(self.of_row, below) != 0.0)
        told = _divided(drawn[:, 0], drawn[:, 1]) if held >= FEWEST_BLOCKS else np.full(len(drawn), np.nan)
        return float(_divided(total[:1], total[1:])[0]), told

    def rank_correlation(self, x: Column, y: Column) -> tuple[float, Column]:
        """Spearman's, ranks taken anew in every draw [draws], ties at their mean rank; NaN where x or y is constant."""
        ordered = (*_ties(x), *_ties(y))
        drawn, whole = np.empty(len(self.times)), np.empty(1)
        _spearman(*ordered, self.of_row, self.times, drawn)
        _spearman(*ordered, self.of_row, np.ones((1, self.times.shape[1])), whole)
        return float(whole[0]), drawn


def percentile(value: float, drawn: Column, level: float = LEVEL) -> Interval:
    """The interval that holds the middle `level` of the draws."""
    told = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(told) == 0:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(told, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def reflected(value: float, drawn: Column, level: float = LEVEL) -> Interval:
    """The percentile interval mirrored at the value, not below 0: for what resampling inflates, as absolute errors."""
    found = percentile(value, drawn, level)
    if np.isnan(found.low):
        return found
    return Interval(found.value, max(0.0, 2 * value - found.high), max(0.0, 2 * value - found.low))


def _divided(above: Column, below: Column) -> Column:
    found: Column = np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0.0)
    return found


def _ties(values: Column) -> tuple[NDArray[Any], NDArray[Any]]:
    """Row numbers in order of value, and where each group of equal values ends in it."""
    order = np.argsort(values, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(values[order])) + 1, len(values))


@njit(cache=True)
def _ranks(order, ends, block, times, ranks):  # type: ignore[no-untyped-def]
    """Mean rank of every row where row i stands `times[block[i]]` times; returns how many rows that makes."""
    below, start = 0.0, 0
    for end in ends:
        here = 0.0
        for k in range(start, end):
            here += times[block[order[k]]]
        for k in range(start, end):
            ranks[order[k]] = below + 0.5 * (here + 1.0)
        below += here
        start = end
    return below


@njit(cache=True)
def _spearman(order_x, ends_x, order_y, ends_y, block, times, out):  # type: ignore[no-untyped-def]
    rank_x, rank_y = np.empty(len(block)), np.empty(len(block))
    for d in range(len(times)):
        _ranks(order_x, ends_x, block, times[d], rank_x)
        mean = 0.5 * (_ranks(order_y, ends_y, block, times[d], rank_y) + 1.0)
        xy, xx, yy = 0.0, 0.0, 0.0
        for i in range(len(block)):
            weight, x, y = times[d, block[i]], rank_x[i] - mean, rank_y[i] - mean
            xy += weight * x * y
            xx += weight * x * x
            yy += weight * y * y
        out[d] = xy / np.sqrt(xx * yy) if xx * yy > 0.0 else np.nan
