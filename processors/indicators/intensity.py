"""How much happens: events per second."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import KIND_NAMES, Column, EventBatch
from processors.tiles import CURRENT, TiledWindow, covered_s, open_tile, tile_ended, total, warm, window


@dataclass(frozen=True, slots=True)
class Intensity:
    """Events of one kind in the last `window_s` seconds, per second; 0 where there was none."""

    of: Literal["trade", "quote", "news"]
    window_s: float

    def start(self, symbols: int) -> "IntensityState":
        return IntensityState(KIND_NAMES.index(self.of), window(symbols, window_s=self.window_s, sums=1))


@dataclass(slots=True)
class IntensityState:
    code: int
    seen: TiledWindow
    """Sum: events."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.seen.arrays

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.seen
        _fold(self.code, batch.kind, batch.symbol, batch.now, w.clock, w.tiles, w.weight, w.width_ns, w.closed_s, out)


@njit(cache=True)
def _fold(code, kind, symbol, now, clock, tiles, weight, width_ns, closed_s, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if tile_ended(clock, s, now[i]):
            open_tile(clock, tiles, weight, width_ns, s, now[i])
        if kind[i] == code:
            tiles[s, 0, CURRENT] += 1.0
        if warm(clock, s, now[i]):
            out[i] = total(tiles, s, 0) / covered_s(clock, width_ns, closed_s, s, now[i])
        else:
            out[i] = np.nan
