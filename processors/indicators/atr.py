"""Average true range."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Column, EventBatch
from processors.indicators.minute_bars import MinuteBars, adds_price, bars_to_forget, checked, keep, minute_ended

HIGH: Final = 0
LOW: Final = 1
CLOSE: Final = 2
BEFORE: Final = 3


@dataclass(frozen=True, slots=True)
class Atr:
    """Average true range (Wilder 1978) of one-minute bars of the mid, as a fraction of the last close.

    True range: the bar's range, stretched to the close before it; averaged by a Wilder mean over `window_m` bars. As
    TA-Lib's ATR (divided by the close: NATR / 100): the first bar has no true range, the seed is the plain mean of the
    first `window_m` true ranges kept (`minute_bars`). Warm after `window_m` + 1 bars.
    """

    window_m: int

    def start(self, symbols: int) -> "AtrState":
        bars = bars_to_forget(2 * checked(self.window_m) - 1)
        return AtrState(self.window_m, MinuteBars.start(symbols, bars), np.full((symbols, 4), np.nan))


@dataclass(slots=True)
class AtrState:
    window_m: int
    bars: MinuteBars
    """Of true ranges."""
    bar: NDArray[np.float64]
    """[symbols, 4]: HIGH, LOW and CLOSE of the open bar, NaN while it is empty; BEFORE, the close of the bar before it."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.bars.arrays, self.bar)

    def fold(self, batch: EventBatch, out: Column) -> None:
        b = self.bars
        _fold(self.window_m, batch.kind, batch.symbol, batch.now, batch.mid, b.clock, b.kept, b.value, self.bar, out)


@njit(cache=True)
def _fold(window_m, kind, symbol, now, mid, clock, kept, value, bar, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if minute_ended(clock, s, now[i]) and not np.isnan(bar[s, CLOSE]):
            if not np.isnan(bar[s, BEFORE]):
                true_range = max(bar[s, HIGH], bar[s, BEFORE]) - min(bar[s, LOW], bar[s, BEFORE])
                value[s] = _wilder_mean(window_m, keep(clock, kept, s, true_range)) / bar[s, CLOSE]
            bar[s, BEFORE] = bar[s, CLOSE]
            bar[s, HIGH] = bar[s, LOW] = bar[s, CLOSE] = np.nan
        if adds_price(kind[i], mid[i]):
            empty = np.isnan(bar[s, CLOSE])
            bar[s, HIGH] = mid[i] if empty else max(bar[s, HIGH], mid[i])
            bar[s, LOW] = mid[i] if empty else min(bar[s, LOW], mid[i])
            bar[s, CLOSE] = mid[i]
        out[i] = value[s]


@njit(cache=True)
def _wilder_mean(n, ranges):  # type: ignore[no-untyped-def]
    if len(ranges) < n:
        return np.nan
    mean = np.mean(ranges[:n])
    for k in range(n, len(ranges)):
        mean = (mean * (n - 1) + ranges[k]) / n
    return mean
