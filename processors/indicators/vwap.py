"""Distance from the volume-weighted average price."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import TRADE, Column, EventBatch
from processors.tiles import TiledWindow, advance, warm, window


@dataclass(frozen=True, slots=True)
class Vwap:
    """Distance of the mid from the volume-weighted average price of the last `window_s` seconds, as a fraction."""

    window_s: float

    def start(self, symbols: int) -> "VwapState":
        return VwapState(window(symbols, window_s=self.window_s, sums=2))


@dataclass(slots=True)
class VwapState:
    traded: TiledWindow
    """Sums: size, price times size."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.traded.arrays

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.traded
        _fold(
            batch.kind, batch.symbol, batch.now, batch.price, batch.size, batch.mid,
            w.tile, w.first, w.ring, w.merged, w.weight, w.width_ns, out,
        )  # fmt: skip


@njit(cache=True)
def _fold(kind, symbol, now, price, size, mid, tile, first, ring, merged, weight, width_ns, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        slot = advance(tile, first, ring, merged, weight, width_ns, s, now[i])
        if kind[i] == TRADE:
            ring[s, slot, 0] += size[i]
            ring[s, slot, 1] += price[i] * size[i]
        volume = merged[s, 0] + ring[s, slot, 0]
        if warm(tile, first, ring, s) and volume > 0.0:
            out[i] = mid[i] / ((merged[s, 1] + ring[s, slot, 1]) / volume) - 1.0
        else:
            out[i] = np.nan
