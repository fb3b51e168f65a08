"""A closed bar once more, from the trades that belong to it and what the venue has said of them since."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.bars import REASONS
from processors.batch import Flags, Integers
from processors.exact import exact_sum

Lines = NDArray[Any]
TRADES: Final = np.dtype(
    [("row", "i4"), ("seq", "i8"), ("ts", "i8"), ("price", "f8"), ("size", "f8"), ("offset", "i8"), ("late", "?")]
)
"""Trades that set prices; `row` of the symbol, times in ns."""
FIXES: Final = np.dtype(
    [("row", "i4"), ("refers", "i8"), ("ts", "i8"), ("price", "f8"), ("size", "f8"), ("offset", "i8"), ("cancel", "?")]
)
"""Corrections and cancellations of the trade numbered `refers`."""
ISSUED: Final = np.dtype(
    [
        ("row", "i4"), ("kind", "i4"), ("start", "i8"), ("offset", "i8"), ("rev", "i8"), ("n_trades", "i8"),
        ("gap_ms", "i8"), ("partial", "?"), ("numbers", "f8", (6,)),
    ]
)  # fmt: skip
"""Time bars as they were issued."""
LATE, CORRECT, CANCEL = (REASONS.index(name) for name in ("late", "correct", "cancel"))


def without_copies(trades: Lines) -> Lines:
    """Each trade once, the first that came, in the order of arrival; a trade is known by its number and time."""
    trades = trades[np.argsort(trades["offset"], kind="stable")]
    order = np.lexsort((trades["offset"], trades["ts"], trades["seq"]))
    seq, ts = trades["seq"][order], trades["ts"][order]
    first = np.ones(len(trades), np.bool_)
    first[1:] = (seq[1:] != seq[:-1]) | (ts[1:] != ts[:-1])
    return trades[np.sort(order[first])]


def fixed(trades: Lines, fixes: Lines, numbered: Lines) -> tuple[Lines, int]:
    """The trades as corrected, cancelled ones left out; and the reason to say: of the newest fix that touched one, else late.

    fixes, in log order: the last one of a trade wins. numbered: every trade, of this bar or another, that has one of the
    numbers that the fixes refer to: a fix means the last trade of its number stamped no later than itself.
    """
    trades, kept, reason = trades.copy(), np.ones(len(trades), np.bool_), LATE
    for fix in fixes:
        same = numbered["ts"][(numbered["seq"] == fix["refers"]) & (numbered["ts"] <= fix["ts"])]
        if not len(same):
            continue
        at = np.flatnonzero((trades["seq"] == fix["refers"]) & (trades["ts"] == same.max()))
        if not len(at):
            continue
        kept[at], reason = not fix["cancel"], CANCEL if fix["cancel"] else CORRECT
        if not fix["cancel"]:
            trades["price"][at], trades["size"][at] = fix["price"], fix["size"]
    return trades[kept], reason


def numbers_of(trades: Lines) -> NDArray[np.float64]:
    """Open, high, low, close, volume, value of at least one trade; the same bits as the fold's."""
    by_time = np.lexsort((trades["seq"], trades["ts"]))
    price, size = trades["price"], trades["size"]
    first, last = price[by_time[0]], price[by_time[-1]]
    return np.array([first, price.max(), price.min(), last, exact_sum(size), exact_sum(price * size)])


def stamps_of(trades: Lines, start: int, end: int) -> Integers:
    """As `ClosedBars.stamps`; trades in order of arrival, at least one."""
    by_time = np.lexsort((trades["seq"], trades["ts"]))
    first, last = trades[by_time[0]], trades[by_time[-1]]
    late_n = int((trades["late"] | _out_of_order(trades, by_time)).sum())
    n = len(trades)
    return np.array([start, end, n, first["ts"], first["seq"], last["ts"], last["seq"], late_n], np.int64)


def _out_of_order(trades: Lines, by_time: Integers) -> Flags:
    """Which came after one that belongs behind them."""
    place = np.empty(len(trades), np.int64)
    place[by_time] = np.arange(len(trades))
    return place < np.maximum.accumulate(place)
