"""What every indicator must say: its definition once more, over the whole history, slowly, with no code of the kernels'.

An oracle takes the rows of one symbol in one session and gives the value after each. Every sum is made anew from all rows,
in another order than the kernel's, so they agree to 1e-9 and not to the bit. NaN must stand at the same rows.

`settled` says how long a memory is: the rows at which nothing may be left of what happened before row `since`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from processors.batch import NEWS, NS, QUOTE, TRADE, Column, EventBatch, Flags, Integers
from processors.indicators.atr import Atr
from processors.indicators.bollinger import BollingerZ
from processors.indicators.book import BookImbalance, BookImbalanceEwm, MicropriceDev, Spread, SpreadEwm
from processors.indicators.clocks import SessionFrac, SinceTrade
from processors.indicators.extremes import HighDist, LowDist
from processors.indicators.flow import FlowImbalance, TradeSignEwm
from processors.indicators.intensity import Intensity
from processors.indicators.macd import MacdHist
from processors.indicators.news import NewsSentimentEwm
from processors.indicators.order_flow import OrderFlowImbalance
from processors.indicators.returns import ReturnEwm
from processors.indicators.rsi import Rsi
from processors.indicators.volatility import Volatility, VolatilityEwm
from processors.indicators.vwap import Vwap
from tests.processors.indicators.bar_oracles import atr, bollinger_z, left_bars, macd_hist, rsi


@dataclass(frozen=True)
class Oracle:
    """The value from the definition; the end of the memory; what 1e-9 is relative to where a value is near 0."""

    expected: Callable[[Any, EventBatch], Column]
    settled: Callable[[Any, EventBatch, int], Flags]
    scale: float


# Windows of time: tiles aligned to the epoch, the current one and those before it.


def tiling(declared: Any) -> tuple[int, Column]:
    """Width of a tile in ns, and what each counts by its age: 60 parts of a window, or 6 half-lives in eighths."""
    if hasattr(declared, "window_s"):
        return round(declared.window_s * NS / 60), np.ones(60)
    return round(declared.half_life_s * NS / 8), np.array([2.0 ** (-age / 8) for age in range(48)])


def left_window(declared: Any, rows: EventBatch, since: int) -> Flags:
    width, weight = tiling(declared)
    return np.asarray(rows.now // width - rows.now[since] // width >= len(weight))


def decayed(declared: Any, rows: EventBatch, contribution: Column, since: int | None) -> Column:
    """Weighted sum of what the rows contributed, after each; NaN until a whole window has passed since row `since`."""
    width, weight = tiling(declared)
    tile = rows.now // width
    sums = np.full(len(rows), np.nan)
    for i in range(0 if since is None else since, len(rows)):
        if since is not None and tile[i] - tile[since] >= len(weight):
            age = tile[i] - tile[: i + 1]
            inside = age < len(weight)
            sums[i] = np.dot(weight[age[inside]], contribution[: i + 1][inside])
    return sums


def seconds_in_window(declared: Any, now: Integers) -> Column:
    width, weight = tiling(declared)
    return sum(weight[1:]) * width / NS + (now % width) / NS


def first_where(flags: Flags) -> int | None:
    return int(np.argmax(flags)) if flags.any() else None


def quotient(above: Column, below: Column) -> Column:
    return np.array([a / b if b > 0 else np.nan for a, b in zip(above, below, strict=True)])


def log_returns(mid: Column) -> Column:
    """At each row, of the mid against the one at the row before it; 0 at the first."""
    returns, before = np.zeros(len(mid)), np.nan
    for i, m in enumerate(mid):
        if math.isfinite(m):
            returns[i] = math.log1p((m - before) / before) if math.isfinite(before) else 0.0
            before = m
    return returns


def return_ewm(declared: Any, rows: EventBatch) -> Column:
    return decayed(declared, rows, log_returns(rows.mid), first_where(np.isfinite(rows.mid)))


def volatility(declared: Any, rows: EventBatch) -> Column:
    squares = decayed(declared, rows, log_returns(rows.mid) ** 2, first_where(np.isfinite(rows.mid)))
    return np.sqrt(squares / seconds_in_window(declared, rows.now))


def vwap(declared: Any, rows: EventBatch) -> Column:
    traded = rows.kind == TRADE
    volume = decayed(declared, rows, np.where(traded, rows.size, 0.0), 0)
    value = decayed(declared, rows, np.where(traded, rows.size * rows.price, 0.0), 0)
    return rows.mid / quotient(value, volume) - 1.0


def flow_imbalance(declared: Any, rows: EventBatch) -> Column:
    volume = np.where(rows.kind == TRADE, rows.size, 0.0)
    return quotient(decayed(declared, rows, volume * rows.sign, 0), decayed(declared, rows, volume, 0))


def trade_sign(declared: Any, rows: EventBatch) -> Column:
    traded = (rows.kind == TRADE).astype(float)
    return quotient(decayed(declared, rows, traded * rows.sign, 0), decayed(declared, rows, traded, 0))


def order_flow(declared: Any, rows: EventBatch) -> Column:
    quotes = np.flatnonzero(rows.kind == QUOTE)
    e, depth, changes = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for p, i in pairwise(quotes):
        bought = (rows.bid[i] >= rows.bid[p]) * rows.bid_size[i] - (rows.bid[i] <= rows.bid[p]) * rows.bid_size[p]
        sold = (rows.ask[i] <= rows.ask[p]) * rows.ask_size[i] - (rows.ask[i] >= rows.ask[p]) * rows.ask_size[p]
        e[i], depth[i], changes[i] = bought - sold, (rows.bid_size[i] + rows.ask_size[i]) / 2, 1
    since = int(quotes[0]) if len(quotes) else None
    n = decayed(declared, rows, changes, since)
    in_depths = quotient(decayed(declared, rows, e, since) * n, decayed(declared, rows, depth, since))
    return np.where(n == 0, 0.0, in_depths)


def intensity(declared: Any, rows: EventBatch) -> Column:
    kind = {"trade": TRADE, "quote": QUOTE, "news": NEWS}[declared.of]
    return decayed(declared, rows, (rows.kind == kind).astype(float), 0) / seconds_in_window(declared, rows.now)


def news_sentiment(declared: Any, rows: EventBatch) -> Column:
    told = rows.kind == NEWS
    items = decayed(declared, rows, told.astype(float), 0)
    return decayed(declared, rows, np.where(told, rows.sentiment, 0.0), 0) / (1.0 + items)


def high_dist(declared: Any, rows: EventBatch) -> Column:
    return rows.mid / _extreme(declared, rows, max) - 1.0


def low_dist(declared: Any, rows: EventBatch) -> Column:
    return rows.mid / _extreme(declared, rows, min) - 1.0


def _extreme(declared: Any, rows: EventBatch, best: Callable[..., float]) -> Column:
    width, weight = tiling(declared)
    found = np.full(len(rows), np.nan)
    since = first_where(np.isfinite(rows.mid))
    for i in range(len(rows) if since is None else since, len(rows)):
        if rows.now[i] // width - rows.now[since] // width >= len(weight):
            start = (rows.now[i] // width - len(weight) + 1) * width
            stands_at_start = int(np.searchsorted(rows.now, start, side="left")) - 1
            found[i] = best(rows.mid[stands_at_start : i + 1])
    return found


# The best quotes.


def spread(_: Any, rows: EventBatch) -> Column:
    return (rows.ask - rows.bid) / ((rows.ask + rows.bid) / 2)


def imbalance(_: Any, rows: EventBatch) -> Column:
    return quotient(rows.bid_size - rows.ask_size, rows.bid_size + rows.ask_size)


def microprice_dev(_: Any, rows: EventBatch) -> Column:
    micro = quotient(rows.bid * rows.ask_size + rows.ask * rows.bid_size, rows.bid_size + rows.ask_size)
    return micro / ((rows.ask + rows.bid) / 2) - 1.0


def spread_ewm(declared: Any, rows: EventBatch) -> Column:
    return _time_weighted(declared, rows, spread(declared, rows))


def imbalance_ewm(declared: Any, rows: EventBatch) -> Column:
    return _time_weighted(declared, rows, imbalance(declared, rows))


def _time_weighted(declared: Any, rows: EventBatch, value: Column) -> Column:
    """From the integral of the step function that the quotes make."""
    width, weight = tiling(declared)
    steps = np.flatnonzero((rows.kind == QUOTE) & np.isfinite(value))
    means = np.full(len(rows), np.nan)
    if len(steps) == 0:
        return means
    at = np.append(rows.now[steps], rows.now[-1] + NS) - rows.now[steps[0]]
    integral = np.append(0.0, np.cumsum(value[steps] * np.diff(at) / NS))
    for i in range(steps[0], len(rows)):
        tile = rows.now[i] // width
        if tile - rows.now[steps[0]] // width >= len(weight):
            begins = (tile - np.arange(len(weight))) * width
            ends = np.minimum(begins + width, rows.now[i])
            stood = np.interp(ends - rows.now[steps[0]], at, integral) - np.interp(
                begins - rows.now[steps[0]], at, integral
            )
            means[i] = np.dot(weight, stood)
    return means / seconds_in_window(declared, rows.now)


# Clocks.


def since_trade(_: Any, rows: EventBatch) -> Column:
    found, traded = [], math.nan
    for kind, now in zip(rows.kind, rows.now, strict=True):
        traded = now if kind == TRADE else traded
        found.append((now - traded) / NS)
    return np.array(found)


def session_frac(_: Any, rows: EventBatch) -> Column:
    return np.clip((rows.now - rows.session_open) / (rows.session_close - rows.session_open), 0.0, 1.0)


def at_once(_: Any, rows: EventBatch, since: int) -> Flags:
    return np.arange(len(rows)) >= since


def traded_again(_: Any, rows: EventBatch, since: int) -> Flags:
    return np.cumsum((rows.kind == TRADE) & (np.arange(len(rows)) >= since)) > 0


ORACLES: Final[Mapping[type, Oracle]] = {
    ReturnEwm: Oracle(return_ewm, left_window, 1e-3),
    Volatility: Oracle(volatility, left_window, 1e-6),
    VolatilityEwm: Oracle(volatility, left_window, 1e-6),
    Vwap: Oracle(vwap, left_window, 1e-3),
    FlowImbalance: Oracle(flow_imbalance, left_window, 1.0),
    TradeSignEwm: Oracle(trade_sign, left_window, 1.0),
    OrderFlowImbalance: Oracle(order_flow, left_window, 1.0),
    Intensity: Oracle(intensity, left_window, 0.0),
    NewsSentimentEwm: Oracle(news_sentiment, left_window, 1.0),
    HighDist: Oracle(high_dist, left_window, 0.0),
    LowDist: Oracle(low_dist, left_window, 0.0),
    Spread: Oracle(spread, at_once, 0.0),
    BookImbalance: Oracle(imbalance, at_once, 0.0),
    MicropriceDev: Oracle(microprice_dev, at_once, 1e-4),
    SpreadEwm: Oracle(spread_ewm, left_window, 0.0),
    BookImbalanceEwm: Oracle(imbalance_ewm, left_window, 1.0),
    SinceTrade: Oracle(since_trade, traded_again, 0.0),
    SessionFrac: Oracle(session_frac, at_once, 0.0),
    Rsi: Oracle(rsi, left_bars, 0.0),
    MacdHist: Oracle(macd_hist, left_bars, 1e-4),
    BollingerZ: Oracle(bollinger_z, left_bars, 1.0),
    Atr: Oracle(atr, left_bars, 0.0),
}
