"""What is known of each symbol as of each row: best bid and offer, last trade, and who was the aggressor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import QUOTE, TRADE


@dataclass(slots=True)
class MarketState:
    """[symbols, 7]: bid, bid size, ask, ask size, last trade, the price before it that differed, last sign."""

    known: NDArray[np.float64]

    @classmethod
    def start(cls, symbols: int) -> "MarketState":
        """Nothing known of any symbol."""
        return cls(np.full((symbols, 7), np.nan))

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.known,)


@njit(cache=True)
def as_of(kind, symbol, fresh, price, side, bid, bid_size, ask, ask_size, known, sign, last, mid):  # type: ignore[no-untyped-def]
    """Carry quotes and last trades forward, in event order; writes bid .. ask_size in place, and sign, last and mid.

    side: the venue's word on the aggressor (+1, -1, 0 unknown). Where unknown: above mid bought, below sold (quote
    rule, Lee and Ready 1991), at mid or without quotes by the last change of price (tick rule), 0 before the first.
    """
    for i in range(len(kind)):
        s = symbol[i]
        if fresh[i]:
            known[s, :] = np.nan
        if kind[i] == QUOTE:
            known[s, 0], known[s, 1], known[s, 2], known[s, 3] = bid[i], bid_size[i], ask[i], ask_size[i]
        elif kind[i] == TRADE:
            sign[i] = _sign(price[i], side[i], known[s])
            if price[i] != known[s, 4]:
                known[s, 5] = known[s, 4]
            known[s, 4] = price[i]
            known[s, 6] = sign[i]
        bid[i], bid_size[i], ask[i], ask_size[i] = known[s, 0], known[s, 1], known[s, 2], known[s, 3]
        last[i] = known[s, 4]
        mid[i] = known[s, 4] if np.isnan(known[s, 0]) else 0.5 * (known[s, 0] + known[s, 2])


@njit(cache=True)
def _sign(price, side, known):  # type: ignore[no-untyped-def]
    if side != 0:
        return side
    if not np.isnan(known[0]):
        middle = 0.5 * (known[0] + known[2])
        if price > middle:
            return 1
        if price < middle:
            return -1
    if price > known[4]:
        return 1
    if price < known[4]:
        return -1
    if price > known[5]:
        return 1
    if price < known[5]:
        return -1
    return 0
