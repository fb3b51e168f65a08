"""Relative strength index."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Column, EventBatch
from processors.indicators.minute_bars import MinuteBars, adds_price, bars_to_forget, checked, keep, minute_ended


@dataclass(frozen=True, slots=True)
class Rsi:
    """Relative strength index (Wilder 1978) of the closes of one-minute bars of the mid, 0 to 100.

    100 times the mean rise over the mean of rises and falls, both Wilder means over `window_m` bars. As TA-Lib's RSI: seeded
    with the plain mean of the first `window_m` changes kept (`minute_bars`). Where no close kept differs from another
    it is 50, neither strong nor weak (TA-Lib says 0). Warm after `window_m` + 1 bars.
    """

    window_m: int

    def start(self, symbols: int) -> "RsiState":
        bars = bars_to_forget(2 * checked(self.window_m) - 1) + 1
        return RsiState(self.window_m, MinuteBars.start(symbols, bars), np.full(symbols, np.nan))


@dataclass(slots=True)
class RsiState:
    window_m: int
    bars: MinuteBars
    """Of closes."""
    close: Column
    """[symbols]: of the open bar; NaN while it is empty."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.bars.arrays, self.close)

    def fold(self, batch: EventBatch, out: Column) -> None:
        b = self.bars
        _fold(self.window_m, batch.kind, batch.symbol, batch.now, batch.mid, b.clock, b.kept, b.value, self.close, out)


@njit(cache=True)
def _fold(window_m, kind, symbol, now, mid, clock, kept, value, close, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if minute_ended(clock, s, now[i]) and not np.isnan(close[s]):
            value[s] = _rsi(window_m, keep(clock, kept, s, close[s]))
            close[s] = np.nan
        if adds_price(kind[i], mid[i]):
            close[s] = mid[i]
        out[i] = value[s]


@njit(cache=True)
def _rsi(n, closes):  # type: ignore[no-untyped-def]
    if len(closes) <= n:
        return np.nan
    rise = fall = 0.0
    for k in range(1, n + 1):
        change = closes[k] - closes[k - 1]
        rise += max(change, 0.0)
        fall += max(-change, 0.0)
    rise /= n
    fall /= n
    for k in range(n + 1, len(closes)):
        change = closes[k] - closes[k - 1]
        rise = (rise * (n - 1) + max(change, 0.0)) / n
        fall = (fall * (n - 1) + max(-change, 0.0)) / n
    return 100.0 * rise / (rise + fall) if rise + fall > 0.0 else 50.0
