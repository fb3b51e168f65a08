"""Log returns of the mid, and their decayed sum."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Column, EventBatch
from processors.tiles import CURRENT, TiledWindow, decaying, open_tile, tile_ended, total, warm

SMALL: Final = 0.005
"""Below this the series of atanh is exact to the last bit with the terms that are used."""


@dataclass(frozen=True, slots=True)
class ReturnEwm:
    """Sum of the log returns of the mid, each counting half as much after every `half_life_s` seconds.

    Cut off after six half-lives. A plain number, not per second: 0.0001 says that the mid rose by one basis point just now,
    or by two one half-life ago. The first mid of a session starts the window.
    """

    half_life_s: float

    def start(self, symbols: int) -> "ReturnEwmState":
        return ReturnEwmState(decaying(symbols, half_life_s=self.half_life_s, sums=1), np.full(symbols, np.nan))


@dataclass(slots=True)
class ReturnEwmState:
    moved: TiledWindow
    """Sum: log returns."""
    before: Column
    """[symbols]: the mid before this row."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.moved.arrays, self.before)

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.moved
        _fold(batch.symbol, batch.now, batch.mid, w.clock, w.tiles, w.weight, w.width_ns, self.before, out)


@njit(cache=True)
def _fold(symbol, now, mid, clock, tiles, weight, width_ns, before, out):  # type: ignore[no-untyped-def]
    for i in range(len(symbol)):
        if not np.isfinite(mid[i]):
            out[i] = np.nan
            continue
        s = symbol[i]
        if tile_ended(clock, s, now[i]):
            open_tile(clock, tiles, weight, width_ns, s, now[i])
        if mid[i] != before[s]:
            if not np.isnan(before[s]):
                tiles[s, 0, CURRENT] += log_return(before[s], mid[i])
            before[s] = mid[i]
        out[i] = total(tiles, s, 0) if warm(clock, s, now[i]) else np.nan


@njit(cache=True)
def log_return(before, after):  # type: ignore[no-untyped-def]
    """Natural logarithm of `after / before`.

    As 2 atanh((after - before) / (after + before)): for moves below 1 % a short series in plain arithmetic, so that
    the bits do not depend on the machine's library, small moves lose no digits, and it takes a third of the time.
    """
    x = (after - before) / (after + before)
    if abs(x) < SMALL:
        y = x * x
        return 2.0 * x * (1.0 + y * (1.0 / 3.0 + y * (1.0 / 5.0 + y * (1.0 / 7.0))))
    return math.log(after / before)
