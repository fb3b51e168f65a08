"""Distance from the highest and the lowest mid."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Column, EventBatch
from processors.tiles import CLOSED, CURRENT, TiledWindow, highest, open_tile_highest, tile_ended, warm

HIGH: Final = 1.0
LOW: Final = -1.0
"""The lowest mid is the highest of the mids turned round."""


@dataclass(frozen=True, slots=True)
class HighDist:
    """Distance of the mid from the highest mid that stood in the last `window_s` seconds, as a fraction: never above 0.

    A mid stands until the next, so the one at the window's start belongs to it. The first mid of a session starts it.
    """

    window_s: float

    def start(self, symbols: int) -> "ExtremeState":
        return ExtremeState(HIGH, highest(symbols, window_s=self.window_s), np.full(symbols, np.nan))


@dataclass(frozen=True, slots=True)
class LowDist:
    """As `HighDist`, from the lowest mid: never below 0."""

    window_s: float

    def start(self, symbols: int) -> "ExtremeState":
        return ExtremeState(LOW, highest(symbols, window_s=self.window_s), np.full(symbols, np.nan))


@dataclass(slots=True)
class ExtremeState:
    turned: float
    stood: TiledWindow
    standing: Column
    """[symbols]: the mid before this row, turned round for the lowest."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.stood.arrays, self.standing)

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.stood
        _fold(self.turned, batch.symbol, batch.now, batch.mid, w.clock, w.tiles, w.width_ns, self.standing, out)


@njit(cache=True)
def _fold(turned, symbol, now, mid, clock, tiles, width_ns, standing, out):  # type: ignore[no-untyped-def]
    for i in range(len(symbol)):
        if not np.isfinite(mid[i]):
            out[i] = np.nan
            continue
        s = symbol[i]
        if tile_ended(clock, s, now[i]):
            open_tile_highest(clock, tiles, width_ns, standing, s, now[i])
        standing[s] = turned * mid[i]
        tiles[s, 0, CURRENT] = max(tiles[s, 0, CURRENT], standing[s])
        if warm(clock, s, now[i]):
            out[i] = standing[s] / max(tiles[s, 0, CLOSED], tiles[s, 0, CURRENT]) - 1.0
        else:
            out[i] = np.nan
