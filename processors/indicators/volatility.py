"""Realized volatility of the mid."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Column, EventBatch
from processors.indicators.returns import log_return
from processors.tiles import CURRENT, TiledWindow, covered_s, decaying, open_tile, tile_ended, total, warm, window


@dataclass(frozen=True, slots=True)
class Volatility:
    """Realized volatility of the last `window_s` seconds, per square root of a second.

    sqrt(sum of r² / seconds covered), r the log return at each change of the mid (Andersen and Bollerslev 1998; no mean
    is taken off). Times sqrt(s) it is the volatility over s seconds. 0 where the mid did not move.
    """

    window_s: float

    def start(self, symbols: int) -> "VolatilityState":
        return VolatilityState(window(symbols, window_s=self.window_s, sums=1), np.full(symbols, np.nan))


@dataclass(frozen=True, slots=True)
class VolatilityEwm:
    """As `Volatility`, with squares and seconds that count half as much after every `half_life_s` seconds.

    sqrt(sum of w r² / weighted seconds), cut off after six half-lives; RiskMetrics' estimator in event time.
    """

    half_life_s: float

    def start(self, symbols: int) -> "VolatilityState":
        return VolatilityState(decaying(symbols, half_life_s=self.half_life_s, sums=1), np.full(symbols, np.nan))


@dataclass(slots=True)
class VolatilityState:
    moved: TiledWindow
    """Sum: squares of log returns."""
    before: Column
    """[symbols]: the mid before this row."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.moved.arrays, self.before)

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.moved
        _fold(batch.symbol, batch.now, batch.mid, w.clock, w.tiles, w.weight, w.width_ns, w.closed_s, self.before, out)


@njit(cache=True)
def _fold(symbol, now, mid, clock, tiles, weight, width_ns, closed_s, before, out):  # type: ignore[no-untyped-def]
    for i in range(len(symbol)):
        if not np.isfinite(mid[i]):
            out[i] = np.nan
            continue
        s = symbol[i]
        if tile_ended(clock, s, now[i]):
            open_tile(clock, tiles, weight, width_ns, s, now[i])
        if mid[i] != before[s]:
            if not np.isnan(before[s]):
                tiles[s, 0, CURRENT] += log_return(before[s], mid[i]) ** 2
            before[s] = mid[i]
        if warm(clock, s, now[i]):
            out[i] = math.sqrt(total(tiles, s, 0) / covered_s(clock, width_ns, closed_s, s, now[i]))
        else:
            out[i] = np.nan
