"""Who was the aggressor: signed trades."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import TRADE, Column, EventBatch
from processors.tiles import CURRENT, TiledWindow, decaying, open_tile, tile_ended, total, warm, window


@dataclass(frozen=True, slots=True)
class FlowImbalance:
    """Bought less sold volume of the last `window_s` seconds, as a fraction of all volume: in [-1, 1].

    Volume of unknown sign counts below the line only. NaN where nothing was traded in the window.
    """

    window_s: float

    def start(self, symbols: int) -> "FlowState":
        return FlowState(window(symbols, window_s=self.window_s, sums=2), by_size=True)


@dataclass(frozen=True, slots=True)
class TradeSignEwm:
    """Mean sign of the trades, each counting half as much after every `half_life_s` seconds, whatever its size: [-1, 1].

    Cut off after six half-lives; NaN where nothing was traded in them.
    """

    half_life_s: float

    def start(self, symbols: int) -> "FlowState":
        return FlowState(decaying(symbols, half_life_s=self.half_life_s, sums=2), by_size=False)


@dataclass(slots=True)
class FlowState:
    traded: TiledWindow
    """Sums: size (or 1), the same signed."""
    by_size: bool

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.traded.arrays

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.traded
        _fold(
            batch.kind, batch.symbol, batch.now, batch.size, batch.sign, self.by_size,
            w.clock, w.tiles, w.weight, w.width_ns, out,
        )  # fmt: skip


@njit(cache=True)
def _fold(kind, symbol, now, size, sign, by_size, clock, tiles, weight, width_ns, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if tile_ended(clock, s, now[i]):
            open_tile(clock, tiles, weight, width_ns, s, now[i])
        if kind[i] == TRADE and np.isfinite(size[i]):
            amount = size[i] if by_size else 1.0
            tiles[s, 0, CURRENT] += amount
            tiles[s, 1, CURRENT] += sign[i] * amount
        volume = total(tiles, s, 0)
        out[i] = total(tiles, s, 1) / volume if warm(clock, s, now[i]) and volume > 0.0 else np.nan
