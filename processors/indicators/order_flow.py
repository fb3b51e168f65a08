"""Order flow imbalance at the best quotes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import QUOTE, Column, EventBatch
from processors.tiles import CURRENT, TiledWindow, open_tile, tile_ended, total, warm, window


@dataclass(frozen=True, slots=True)
class OrderFlowImbalance:
    """Order flow imbalance of the last `window_s` seconds, in units of the average depth at the best quotes.

    Every change of the best quotes contributes e = [b ≥ b'] q - [b ≤ b'] q' - [a ≤ a'] r + [a ≥ a'] r' (b, q price and
    size of the bid, a, r of the ask, ' before the change): what was added at the bid or taken at the ask, less the
    opposite (Cont, Kukanov, Stoikov 2014). The sum is divided by the window's mean of (q + r) / 2, since in their model
    impact is inverse to average depth. Unbounded; a few units move the price by a tick. 0 where no quote changed, NaN
    where quotes have no sizes. The first quote of a session starts the window.
    """

    window_s: float

    def start(self, symbols: int) -> "OrderFlowState":
        return OrderFlowState(window(symbols, window_s=self.window_s, sums=3), np.full((symbols, 4), np.nan))


@dataclass(slots=True)
class OrderFlowState:
    flowed: TiledWindow
    """Sums: e, depth, changes of the quotes."""
    before: NDArray[np.float64]
    """[symbols, 4]: bid, bid size, ask, ask size before this row."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.flowed.arrays, self.before)

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.flowed
        _fold(
            batch.kind, batch.symbol, batch.now, batch.bid, batch.bid_size, batch.ask, batch.ask_size,
            w.clock, w.tiles, w.weight, w.width_ns, self.before, out,
        )  # fmt: skip


@njit(cache=True)
def _fold(kind, symbol, now, bid, bid_size, ask, ask_size, clock, tiles, weight, width_ns, before, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        usable = kind[i] == QUOTE and np.isfinite(bid[i] + bid_size[i] + ask[i] + ask_size[i])
        known = not np.isnan(before[s, 0])
        if not usable and not known:
            out[i] = np.nan
            continue
        if tile_ended(clock, s, now[i]):
            open_tile(clock, tiles, weight, width_ns, s, now[i])
        if usable:
            if known:
                tiles[s, 0, CURRENT] += _contribution(before, s, bid[i], bid_size[i], ask[i], ask_size[i])
                tiles[s, 1, CURRENT] += 0.5 * (bid_size[i] + ask_size[i])
                tiles[s, 2, CURRENT] += 1.0
            before[s, 0], before[s, 1], before[s, 2], before[s, 3] = bid[i], bid_size[i], ask[i], ask_size[i]
        out[i] = _in_depths(tiles, s) if warm(clock, s, now[i]) else np.nan


@njit(cache=True)
def _contribution(before, s, bid, bid_size, ask, ask_size):  # type: ignore[no-untyped-def]
    e = 0.0
    if bid >= before[s, 0]:
        e += bid_size
    if bid <= before[s, 0]:
        e -= before[s, 1]
    if ask <= before[s, 2]:
        e -= ask_size
    if ask >= before[s, 2]:
        e += before[s, 3]
    return e


@njit(cache=True)
def _in_depths(tiles, s):  # type: ignore[no-untyped-def]
    changes, depth = total(tiles, s, 2), total(tiles, s, 1)
    if changes == 0.0:
        return 0.0
    return total(tiles, s, 0) / (depth / changes) if depth > 0.0 else np.nan
