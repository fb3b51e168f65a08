"""The market behind the simulated exchange: fair values, order flow and books of many symbols, one second at a time.

What can be learned from it is real but weak. Every symbol has a hidden pressure (mean reverting, `PRESSURE_S` seconds) that
pushes its fair value, tilts the sizes of its book and the side of its trades. News pushes for some seconds, too. The rest
is noise, so nobody can predict much, which is the point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.void]

NS: Final = 1_000_000_000
TRADE, QUOTE, PRINT, CORRECT, CANCEL, HEARTBEAT, MARK = range(7)
ROW: Final = np.dtype(
    [("emit", "i8"), ("ts", "i8"), ("kind", "i1"), ("symbol", "i4"), ("seq", "i8"), ("a", "f8"), ("b", "f8"),
     ("c", "f8"), ("d", "f8"), ("side", "i1"), ("refers", "i8")]
)  # fmt: skip
"""One event: a, b are price and size of a trade, correction; a, b, c, d are bid, its size, ask, its size of a quote;
`side` is +1 or -1 of a trade, up or down of a heartbeat, resume or halt of a session mark; `refers` of a correction."""

_BYTES: Final = np.dtype((np.void, ROW.itemsize))

TICK: Final = 0.01
VOLATILITY: Final = 1.5e-4
"""Of the fair value, as a fraction of the price, in one second."""
PRESSURE_S: Final = 12.0
PRESSURE_PULL: Final = 0.17
"""Drift per unit of pressure, in volatilities per second."""
NEWS_S: Final = 15.0
NEWS_PULL: Final = 0.6
"""Drift just after an item that is wholly good or bad, in volatilities per second."""
NOISE_S: Final = 4.0
NOISE: Final = 0.5
"""Standard deviation of what a price reverts from, in volatilities."""
MOOD_S: Final = 60.0
BURST_S: Final = 8.0
BURSTS_PER_S: Final = 1 / 150
BURST: Final = 6.0
"""How many times its usual rate a symbol trades more when a burst begins, on average."""
STEADY: Final = 0.75
"""How much the quiet symbols make up for the bursts of others; 1 would keep the rate of all symbols together constant."""
TRADES: Final = 0.35
MIDPOINT_TRADES: Final = 0.03
AVERAGE_PRICE_PRINTS: Final = 0.003
FLOOR_TICKS: Final = 200.0


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that stand together by symbol.

    counts   of every symbol      symbol, rank   of every row: whose, and which of it, from 0
    present  symbols with rows    first, last    their first and last row
    """

    counts: Integers
    symbol: Integers
    rank: Integers
    present: Integers
    first: Integers
    last: Integers

    @classmethod
    def of(cls, counts: Integers) -> "Groups":
        """So many rows of each symbol."""
        symbol, present = np.repeat(np.arange(len(counts)), counts), np.flatnonzero(counts)
        stop = np.cumsum(counts)
        rank = np.arange(len(symbol)) - (stop - counts)[symbol]
        return cls(counts, symbol, rank, present, (stop - counts)[present], stop[present] - 1)


@dataclass(slots=True)
class Market:
    """Running values, one row a symbol; prices in ticks."""

    fair: Floats
    volatility: Floats
    spread: Integers
    share: Floats
    """Of all events, in quiet times; sums to 1."""
    pressure: Floats
    noise: Floats
    news: Floats
    mood: Floats
    burst: Floats
    bid: Floats
    ask: Floats
    next_seq: Integers

    @classmethod
    def start(cls, seed: int, symbols: int, first_seq: int) -> "Market":
        """A market at rest; a few symbols are far busier than the rest, as in life."""
        rng = np.random.default_rng([seed, 0])
        fair = np.round(rng.uniform(40.0, 400.0, symbols) / TICK)
        share = 1.0 / np.arange(1.0, symbols + 1.0) ** 0.7
        spread = np.maximum(1, np.round(fair * 1.2e-4)).astype(np.int64)
        bid = np.floor(fair - spread / 2 + 0.5)
        zero = np.zeros(symbols)
        return cls(
            fair=fair, volatility=fair * VOLATILITY, spread=spread, share=share / share.sum(), pressure=zero.copy(),
            noise=zero.copy(), news=zero.copy(), mood=zero.copy(), burst=zero.copy(), bid=bid, ask=bid + spread,
            next_seq=np.full(symbols, first_seq, np.int64),
        )  # fmt: skip

    def hear(self, symbol: int, tone: float) -> None:
        """News in [-1, 1]: it pushes the price for some seconds, and everybody trades."""
        self.news[symbol] += tone
        self.burst[symbol] += BURST

    def second(self, rng: np.random.Generator, start_ns: int, events: float) -> Rows:
        """Trades, prints and quotes of one second, by symbol and time, not numbered yet.

        `events`: how many are expected in a quiet second, all symbols together.
        """
        groups = Groups.of(self._counts(rng, events))
        symbol = groups.symbol
        at = _clustered(rng, groups)
        pressure, noise = self.pressure, self.noise
        self.pressure = _reverting(rng, pressure, PRESSURE_S, 1.0)
        self.noise = _reverting(rng, noise, NOISE_S, NOISE * self.volatility)
        pressure_at = pressure[symbol] + (self.pressure - pressure)[symbol] * at
        mid = self._walk(rng, groups, at, pressure_at) + noise[symbol] + (self.noise - noise)[symbol] * at
        rows = np.zeros(len(at), ROW)
        rows["symbol"], rows["ts"] = symbol, start_ns + (at * NS).astype(np.int64)
        rows["kind"] = np.where(rng.random(len(at)) < TRADES, TRADE, QUOTE)
        self._books(rng, rows, groups, mid, pressure_at)
        _trade(rng, rows, pressure_at)
        self.news *= np.exp(-1.0 / NEWS_S)
        return rows

    def number(self, rows: Rows) -> None:
        """Give every row the next number of its symbol; `rows` by symbol and time."""
        groups = Groups.of(np.bincount(rows["symbol"], minlength=len(self.next_seq)))
        rows["seq"] = self.next_seq[groups.symbol] + groups.rank
        self.next_seq += groups.counts

    def _counts(self, rng: np.random.Generator, events: float) -> Integers:
        """Events of each symbol in this second: its share, its mood, its burst."""
        symbols = len(self.share)
        self.mood = _reverting(rng, self.mood, MOOD_S, 0.5)
        begins = rng.random(symbols) < BURSTS_PER_S
        self.burst = self.burst * np.exp(-1.0 / BURST_S) + begins * rng.exponential(BURST, symbols)
        usual = 1.0 + BURST * BURST_S * BURSTS_PER_S
        rate = self.share * np.exp(self.mood - 0.125) * (1.0 + np.minimum(self.burst, 20.0)) / usual
        counts: Integers = rng.poisson(events * rate / rate.sum() ** STEADY).astype(np.int64)
        return counts

    def _walk(self, rng: np.random.Generator, groups: "Groups", at: Floats, pressure: Floats) -> Floats:
        """Fair value at every event; `self.fair` moves on to the end of the second."""
        news = NEWS_PULL * self.news
        symbol, first, last = groups.symbol, groups.first, groups.last
        step = at.copy()
        step[1:] -= at[:-1]
        step[first] = at[first]
        moves = self._moves(rng, step, PRESSURE_PULL * pressure + news[symbol], self.volatility[symbol])
        total = np.cumsum(moves)
        before = np.zeros(len(news))
        before[groups.present] = total[first] - moves[first]
        fair = self.fair[symbol] + total - before[symbol]
        rest = np.ones(len(news))
        rest[groups.present] -= at[last]
        end = self.fair.copy()
        end[groups.present] = fair[last]
        end += self._moves(rng, rest, PRESSURE_PULL * self.pressure + news, self.volatility)
        self.fair = np.maximum(end, FLOOR_TICKS)
        return np.maximum(fair, FLOOR_TICKS)

    @staticmethod
    def _moves(rng: np.random.Generator, step: Floats, drift: Floats, volatility: Floats) -> Floats:
        return volatility * (drift * step + np.sqrt(step) * rng.standard_normal(len(step)))

    def _books(self, rng: np.random.Generator, rows: Rows, groups: "Groups", mid: Floats, pressure: Floats) -> None:
        """Best bid and offer of every row, in ticks; a trade sees the book of the last quote."""
        symbol, n = groups.symbol, len(rows)
        spread = self.spread[symbol] + (rng.random(n) < 0.15)
        bid = np.floor(mid - spread / 2 + 0.5)
        tilt = 0.5 * pressure + 0.6 * (mid - bid - spread / 2) + 0.9 * rng.standard_normal(n)
        depth = 2.0 + 8.0 * rng.gamma(2.0, 1.0, n)
        here = np.arange(n)
        source = np.maximum.accumulate(np.where(rows["kind"] == QUOTE, here, -1))
        quoted = source >= here - groups.rank
        rows["a"] = np.where(quoted, bid[source], self.bid[symbol])
        rows["c"] = np.where(quoted, (bid + spread)[source], self.ask[symbol])
        rows["b"] = 100.0 * np.ceil(depth / (1.0 + np.exp(-tilt)))
        rows["d"] = 100.0 * np.ceil(depth / (1.0 + np.exp(tilt)))
        self.bid[groups.present] = rows["a"][groups.last]
        self.ask[groups.present] = rows["c"][groups.last]


def _trade(rng: np.random.Generator, rows: Rows, pressure: Floats) -> None:
    """Ticks become prices, and the rows that are trades take the side that is theirs."""
    n = len(rows)
    bid, ask = np.round(rows["a"] * TICK, 2), np.round(rows["c"] * TICK, 2)
    buys = rng.random(n) < 1.0 / (1.0 + np.exp(-0.9 * pressure))
    oddity = rng.random(n)
    hidden, average = oddity < MIDPOINT_TRADES, oddity > 1.0 - AVERAGE_PRICE_PRINTS
    price = np.where(hidden | average, (bid + ask) / 2, np.where(buys, ask, bid))
    price = np.where(average, price * (1.0 + 1e-3 * rng.standard_normal(n)), price)
    lots = np.where(rng.random(n) < 0.15, np.ceil(99.0 * rng.random(n)), 100.0 * np.ceil(rng.lognormal(0.3, 0.9, n)))
    trades = rows["kind"] == TRADE
    rows["side"] = np.where(trades & ~hidden & ~average, np.where(buys, 1, -1), 0)
    rows["a"], rows["c"] = np.where(trades, np.round(price, 4), bid), ask
    rows["b"] = np.where(trades, lots, rows["b"])
    rows["kind"] = np.where(trades & average, PRINT, rows["kind"])


def _reverting(rng: np.random.Generator, value: Floats, time_s: float, deviation: Floats | float) -> Floats:
    """One second of an Ornstein-Uhlenbeck process about 0 with the given stationary deviation, exactly."""
    keep = np.exp(-1.0 / time_s)
    moved: Floats = value * keep + deviation * np.sqrt(1.0 - keep * keep) * rng.standard_normal(len(value))
    return moved


def _clustered(rng: np.random.Generator, groups: Groups) -> Floats:
    """Times within the second, ascending within each symbol; half of all events follow another within milliseconds."""
    at = rng.random(len(groups.symbol))
    follows = (rng.random(len(at)) < 0.5) & (groups.rank > 0)
    after = rng.exponential(0.005, len(at))
    after[1:] += at[:-1]
    at = np.where(follows, np.minimum(after, 1.0 - 1e-9), at)
    return at[np.lexsort((at, groups.symbol))]


def joined(parts: Sequence[Rows]) -> Rows:
    """The parts one after the other; as bytes, because NumPy compares record types field by field, every time."""
    return np.concatenate([part.view(_BYTES) for part in parts if len(part)] or [parts[0].view(_BYTES)]).view(ROW)
