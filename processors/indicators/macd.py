"""Moving average convergence and divergence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Column, EventBatch
from processors.indicators.minute_bars import MinuteBars, adds_price, bars_to_forget, keep, minute_ended
from schemas.errors import IndicatorError


@dataclass(frozen=True, slots=True)
class MacdHist:
    """MACD's histogram on the closes of one-minute bars of the mid, as a fraction of the last close.

    MACD is the exponential mean over `fast_m` bars less that over `slow_m` (Appel 1979); the histogram is MACD less its own
    exponential mean over `signal_m`. Divided by the close, since raw it is in units of price and no two symbols compare. As
    TA-Lib's MACD: both means are seeded at bar `slow_m` with the plain mean of the bars up to it, the signal with the plain
    mean of MACD's first `signal_m` values, counted from the oldest close kept (`minute_bars`). Warm after
    `slow_m + signal_m - 1` bars.
    """

    fast_m: int
    slow_m: int
    signal_m: int

    def start(self, symbols: int) -> "MacdHistState":
        if not 1 <= self.fast_m < self.slow_m or self.signal_m < 1:
            raise IndicatorError(f"MACD needs 1 <= fast_m < slow_m and 1 <= signal_m, was {self!r}")
        bars = bars_to_forget(self.slow_m) + self.signal_m
        return MacdHistState(self, MinuteBars.start(symbols, bars), np.full(symbols, np.nan))


@dataclass(slots=True)
class MacdHistState:
    declared: MacdHist
    bars: MinuteBars
    """Of closes."""
    close: Column
    """[symbols]: of the open bar; NaN while it is empty."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.bars.arrays, self.close)

    def fold(self, batch: EventBatch, out: Column) -> None:
        d, b = self.declared, self.bars
        _fold(
            d.fast_m, d.slow_m, d.signal_m, batch.kind, batch.symbol, batch.now, batch.mid,
            b.clock, b.kept, b.value, self.close, out,
        )  # fmt: skip


@njit(cache=True)
def _fold(fast_m, slow_m, signal_m, kind, symbol, now, mid, clock, kept, value, close, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if minute_ended(clock, s, now[i]) and not np.isnan(close[s]):
            value[s] = _hist(fast_m, slow_m, signal_m, keep(clock, kept, s, close[s])) / close[s]
            close[s] = np.nan
        if adds_price(kind[i], mid[i]):
            close[s] = mid[i]
        out[i] = value[s]


@njit(cache=True)
def _hist(fast_m, slow_m, signal_m, closes):  # type: ignore[no-untyped-def]
    if len(closes) < slow_m + signal_m - 1:
        return np.nan
    fast = np.mean(closes[slow_m - fast_m : slow_m])
    slow = np.mean(closes[:slow_m])
    signal = fast - slow
    for k in range(slow_m, len(closes)):
        fast += (closes[k] - fast) * (2.0 / (fast_m + 1))
        slow += (closes[k] - slow) * (2.0 / (slow_m + 1))
        if k < slow_m + signal_m - 1:
            signal += fast - slow
            if k == slow_m + signal_m - 2:
                signal /= signal_m
        else:
            signal += (fast - slow - signal) * (2.0 / (signal_m + 1))
    return fast - slow - signal
