"""Bollinger bands, as a score."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Column, EventBatch
from processors.indicators.minute_bars import MinuteBars, adds_price, checked, keep, minute_ended


@dataclass(frozen=True, slots=True)
class BollingerZ:
    """Distance of the last close from the mean of the last `window_m` closes of one-minute bars of the mid, in their deviations.

    The deviation is that of the population, as in Bollinger's bands (2001) and TA-Lib's BBANDS: +2 is the upper band.
    No seed: plain means. 0 where all closes are equal. Warm after `window_m` bars.
    """

    window_m: int

    def start(self, symbols: int) -> "BollingerZState":
        return BollingerZState(MinuteBars.start(symbols, checked(self.window_m, at_least=2)), np.full(symbols, np.nan))


@dataclass(slots=True)
class BollingerZState:
    bars: MinuteBars
    """Of closes."""
    close: Column
    """[symbols]: of the open bar; NaN while it is empty."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.bars.arrays, self.close)

    def fold(self, batch: EventBatch, out: Column) -> None:
        b = self.bars
        _fold(batch.kind, batch.symbol, batch.now, batch.mid, b.clock, b.kept, b.value, self.close, out)


@njit(cache=True)
def _fold(kind, symbol, now, mid, clock, kept, value, close, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if minute_ended(clock, s, now[i]) and not np.isnan(close[s]):
            closes = keep(clock, kept, s, close[s])
            value[s] = _score(closes) if len(closes) == kept.shape[1] else np.nan
            close[s] = np.nan
        if adds_price(kind[i], mid[i]):
            close[s] = mid[i]
        out[i] = value[s]


@njit(cache=True)
def _score(closes):  # type: ignore[no-untyped-def]
    if np.max(closes) == np.min(closes):
        return 0.0
    mean = np.mean(closes)
    squares = 0.0
    for close in closes:
        squares += (close - mean) ** 2
    return (closes[-1] - mean) / math.sqrt(squares / len(closes))
