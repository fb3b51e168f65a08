"""MinuteBars: the closed one-minute bars that the oscillators look back on.

A bar is of the reference price, the batch's `mid`: the middle of the best quotes where there are quotes, else the last
trade; so equities, crypto and foreign exchange (no trades) read alike, and no bar bounces between bid and ask. Each trade
and each quote adds the mid as of its row. Minutes are aligned to the epoch; a minute without trade or quote makes no bar
(as in charts); a bar is closed by the symbol's first row of a later minute, whatever its kind.

Wilder's and exponential means never forget, so an oscillator is computed anew at each close from the last closed bars
alone, as many as `bars_to_forget` says, seeded as TA-Lib seeds at the oldest of them. Until there are as many, that is
TA-Lib to the last digits; from then on the seed that TA-Lib still carries weighs less than 1e-12, and the bits depend on
nothing older.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import NS, QUOTE, TRADE, Column, Integers
from schemas.errors import IndicatorError

FORGOTTEN: Final = 1e-12
MINUTE_NS: Final = 60 * NS

END: Final = 0
COUNT: Final = 1


def bars_to_forget(span: int) -> int:
    """Bars after which the seed of an exponential mean over `span` bars weighs less than 1e-12: a Wilder mean's is 2 n - 1.

    >>> bars_to_forget(2 * 14 - 1)
    400
    """
    return span + math.ceil(math.log(FORGOTTEN) / math.log((span - 1) / (span + 1))) if span > 1 else 1


def checked(window_m: int, at_least: int = 1) -> int:
    """`window_m` itself, if a window can be that long."""
    if window_m < at_least:
        raise IndicatorError(f"window_m must be at least {at_least} (bars of one minute), was {window_m!r}")
    return window_m


@dataclass(slots=True)
class MinuteBars:
    """What is kept of one number a closed bar (its close, say), for all symbols."""

    clock: Integers
    """[symbols, 2]: END, ns at which the open bar ends; COUNT, of the numbers kept."""
    kept: NDArray[np.float64]
    """[symbols, bars]: oldest first."""
    value: Column
    """[symbols]: the oscillator as of the last close; NaN until warm."""

    @classmethod
    def start(cls, symbols: int, bars: int) -> "MinuteBars":
        """None closed yet; the last `bars` will be kept."""
        return cls(np.full((symbols, 2), [-1, 0]), np.zeros((symbols, bars)), np.full(symbols, np.nan))

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.clock, self.kept, self.value)


@njit(cache=True)
def minute_ended(clock, s, now):  # type: ignore[no-untyped-def]
    """Whether the minute of the open bar is over at `now`; the next one is then begun."""
    if now < clock[s, END]:
        return False
    clock[s, END] = (now // MINUTE_NS + 1) * MINUTE_NS
    return True


@njit(cache=True)
def keep(clock, kept, s, x):  # type: ignore[no-untyped-def]
    """Remember `x` of the bar just closed, forget the oldest if there is no room; all that is kept, oldest first."""
    bars = kept.shape[1]
    n = clock[s, COUNT]
    if n == bars:
        for k in range(1, bars):
            kept[s, k - 1] = kept[s, k]
        n -= 1
    kept[s, n] = x
    clock[s, COUNT] = n + 1
    return kept[s, : n + 1]


@njit(cache=True)
def adds_price(kind, mid):  # type: ignore[no-untyped-def]
    """Whether a row of this kind adds this mid to the open bar."""
    return kind in (TRADE, QUOTE) and np.isfinite(mid)
