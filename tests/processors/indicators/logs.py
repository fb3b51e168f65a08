"""Logs to prove the laws on: seeded days of several symbols, whole or from any offset."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.batch import NEWS, NS, PRINT, QUOTE, TRADE, Codes, Column, EventBatch, Flags, Integers, Rows
from processors.features import FEATURES, FeatureEngine
from processors.market import MarketState, as_of
from tests.builders import DAY_NS

SYMBOLS = 4
"""0 quotes and trades, 1 trades only, 2 quotes without sizes only, 3 everything with many prints; all have news."""
KINDS = (
    {QUOTE: 0.66, TRADE: 0.28, NEWS: 0.04, PRINT: 0.02},
    {TRADE: 0.94, NEWS: 0.04, PRINT: 0.02},
    {QUOTE: 0.98, NEWS: 0.02},
    {QUOTE: 0.4, TRADE: 0.3, NEWS: 0.1, PRINT: 0.2},
)


@dataclass(frozen=True, slots=True)
class Log:
    """What happened, before quotes are carried forward; NaN where a row says nothing of it."""

    kind: Codes
    symbol: Rows
    now: Integers
    price: Column
    size: Column
    side: Codes
    bid: Column
    bid_size: Column
    ask: Column
    ask_size: Column
    sentiment: Column
    fresh: Flags

    def __len__(self) -> int:
        return len(self.kind)

    def at(self, rows: slice | NDArray[np.intp] | Flags) -> "Log":
        """These rows only."""
        return Log(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def corrupted(self, row: int, price: float, size: float) -> "Log":
        """The same with prices and sizes of one row multiplied by these."""
        factors = {"price": price, "bid": price, "ask": price, "size": size, "bid_size": size, "ask_size": size}
        columns = {name: getattr(self, name).copy() for name in factors}
        with np.errstate(invalid="ignore"):  # infinitely many times nothing
            for name, factor in factors.items():
                columns[name][row] *= factor
        return replace(self, **columns)

    def batch(self) -> EventBatch:
        """As a shard that begins with the first row would hand it to the indicators."""
        n = len(self)
        columns = {
            name: getattr(self, name).copy()
            for name in ("price", "size", "bid", "bid_size", "ask", "ask_size", "sentiment")
        }
        sign, last, mid = np.zeros(n, np.int8), np.empty(n), np.empty(n)
        as_of(
            self.kind, self.symbol, self.fresh, columns["price"], self.side, columns["bid"], columns["bid_size"],
            columns["ask"], columns["ask_size"], MarketState.start(SYMBOLS).known, sign, last, mid,
        )  # fmt: skip
        opened = self.now // DAY_NS * DAY_NS + 9 * 3_600 * NS
        return EventBatch(
            kind=self.kind, symbol=self.symbol, now=self.now, sign=sign, last=last, mid=mid, session_open=opened,
            session_close=opened + 7 * 3_600 * NS, **columns,
        )  # fmt: skip


def day(seed: int, rows: int = 4_000, number: int = 20_000) -> Log:
    """About thirteen hours of all symbols, `rows` a symbol, in order of time: bursts, minutes of silence, ties, round times."""
    rng = np.random.default_rng(seed)
    parts = [_one_symbol(rng, symbol, rows, number * DAY_NS + 6 * 3_600 * NS) for symbol in range(SYMBOLS)]
    joined = Log(**{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Log)})
    return joined.at(np.argsort(joined.now, kind="stable"))


def then(first: Log, second: Log) -> Log:
    """One after the other; the rows at which a symbol's second session begins are fresh."""
    fresh = second.fresh.copy()
    fresh[np.unique(second.symbol, return_index=True)[1]] = True
    second = replace(second, fresh=fresh)
    return Log(**{f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Log)})


def _one_symbol(rng: np.random.Generator, symbol: int, rows: int, begin_ns: int) -> Log:
    kind = rng.choice(list(KINDS[symbol]), rows, p=list(KINDS[symbol].values())).astype(np.int8)
    gap_s = rng.exponential(rng.choice([0.3, 2.0, 25.0, 60.0], rows, p=[0.35, 0.25, 0.37, 0.03]))
    gap_s = np.where(rng.random(rows) < 0.5, np.round(gap_s * 8) / 8, gap_s)
    gap_s[rng.integers(0, rows, 3)] = 1_500.0
    mid = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, 3e-4, rows))), 2)
    half, quoted, traded = 0.01 * rng.integers(1, 5, rows), kind == QUOTE, (kind == TRADE) | (kind == PRINT)
    sizes = rng.integers(0, 9, (2, rows)) * (0.0 if symbol == 2 else 100.0)

    def where(rows_: Flags, values: NDArray[Any]) -> Column:
        return np.where(rows_, values, np.nan)

    return Log(
        kind=kind, symbol=np.full(rows, symbol, np.int32), now=begin_ns + np.cumsum(np.round(gap_s * NS)).astype(np.int64),
        price=where(traded, np.round(mid + rng.integers(-3, 4, rows) * 0.01, 2)),
        size=where(traded, rng.integers(1, 100, rows) / 4.0),
        side=np.where(kind == TRADE, rng.integers(-1, 2, rows), 0).astype(np.int8),
        bid=where(quoted, mid - half), ask=where(quoted, mid + half),
        bid_size=where(quoted, sizes[0]), ask_size=where(quoted, sizes[1]),
        sentiment=where(kind == NEWS, rng.uniform(-1, 1, rows)), fresh=np.zeros(rows, np.bool_),
    )  # fmt: skip


def features(log: Log, batch: EventBatch | None = None) -> NDArray[np.float64]:
    """All FEATURES after every row, folded at once: [features, n]."""
    return FeatureEngine(FEATURES, capacity=SYMBOLS).fold(log.batch() if batch is None else batch, log.fresh)


def of_symbol(batch: EventBatch, symbol: int) -> EventBatch:
    """The rows of one symbol."""
    mine = batch.symbol == symbol
    return EventBatch(**{field.name: getattr(batch, field.name)[mine] for field in fields(EventBatch)})
