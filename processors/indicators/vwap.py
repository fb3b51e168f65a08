"""Distance from the volume-weighted average price."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import TRADE, Column, EventBatch
from processors.tiles import CURRENT, TiledWindow, open_tile, tile_ended, total, warm, window


@dataclass(frozen=True, slots=True)
class Vwap:
    """Distance of the mid from the volume-weighted average price of the last `window_s` seconds, as a fraction.

    NaN where nothing was traded in the window.
    """

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
            w.clock, w.tiles, w.weight, w.width_ns, out,
        )  # fmt: skip


@njit(cache=True)
def _fold(kind, symbol, now, price, size, mid, clock, tiles, weight, width_ns, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if tile_ended(clock, s, now[i]):
            open_tile(clock, tiles, weight, width_ns, s, now[i])
        if kind[i] == TRADE and np.isfinite(price[i] * size[i]):
            tiles[s, 0, CURRENT] += size[i]
            tiles[s, 1, CURRENT] += price[i] * size[i]
        volume, value = total(tiles, s, 0), total(tiles, s, 1)
        if warm(clock, s, now[i]) and volume > 0.0 and value > 0.0 and np.isfinite(mid[i]):
            out[i] = mid[i] / (value / volume) - 1.0
        else:
            out[i] = np.nan
