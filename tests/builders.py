"""Short ways to say what happened: events and batches for tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from processors.batch import NEWS, NS, PRINT, QUOTE, TRADE, Column, EventBatch
from processors.indicator import Indicator
from processors.market import MarketState, as_of

DAY_NS = 86_400 * NS


@dataclass(frozen=True)
class Tick:
    """One row of a batch before quotes are carried forward; `at_s` may be a fraction; prices NaN where not given."""

    kind: int
    at_s: float
    symbol: int = 0
    price: float = np.nan
    size: float = np.nan
    side: int = 0
    bid: float = np.nan
    bid_size: float = np.nan
    ask: float = np.nan
    ask_size: float = np.nan
    sentiment: float = np.nan


def trade(price: float, *, at_s: float, size: float = 1.0, side: int = 0, symbol: int = 0) -> Tick:
    """A trade; `side` +1 bought, -1 sold, 0 unknown."""
    return Tick(TRADE, at_s, symbol, price=price, size=size, side=side)


def quote(
    bid: float, ask: float, *, at_s: float, bid_size: float = 1.0, ask_size: float = 1.0, symbol: int = 0
) -> Tick:
    """A change of the best bid and offer."""
    return Tick(QUOTE, at_s, symbol, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size)


def news(sentiment: float, *, at_s: float, symbol: int = 0) -> Tick:
    """A news signal in [-1, 1]."""
    return Tick(NEWS, at_s, symbol, sentiment=sentiment)


def odd_print(price: float, *, at_s: float, size: float = 1.0, symbol: int = 0) -> Tick:
    """A trade report that sets no price and no volume."""
    return Tick(PRINT, at_s, symbol, price=price, size=size)


def batch_of(ticks: Sequence[Tick], market: MarketState | None = None) -> EventBatch:
    """The ticks as the shard would hand them to the indicators: one session (UTC day of the first), quotes carried on.

    `market`: what was known before; pass the same object to continue a log that was split.
    """
    n = len(ticks)
    market = market or MarketState.start(1 + max((tick.symbol for tick in ticks), default=0))
    kind = np.array([tick.kind for tick in ticks], np.int8)
    symbol = np.array([tick.symbol for tick in ticks], np.int32)
    now = np.array([round(tick.at_s * NS) for tick in ticks], np.int64)
    floats = {
        name: np.array([getattr(tick, name) for tick in ticks], np.float64)
        for name in ("price", "size", "bid", "bid_size", "ask", "ask_size", "sentiment")
    }
    side = np.array([tick.side for tick in ticks], np.int8)
    sign, last, mid = np.zeros(n, np.int8), np.empty(n), np.empty(n)
    as_of(
        kind, symbol, np.zeros(n, np.bool_), floats["price"], side, floats["bid"], floats["bid_size"], floats["ask"],
        floats["ask_size"], market.known, sign, last, mid,
    )  # fmt: skip
    opened = now // DAY_NS * DAY_NS
    return EventBatch(
        kind=kind, symbol=symbol, now=now, sign=sign, last=last, mid=mid, session_open=opened,
        session_close=opened + DAY_NS, **floats,
    )  # fmt: skip


def fold(indicator: Indicator, *ticks: Tick) -> Column:
    """The indicator's value after each tick."""
    batch = batch_of(ticks)
    out = np.empty(len(ticks))
    indicator.start(1 + max(tick.symbol for tick in ticks)).fold(batch, out)
    return out
