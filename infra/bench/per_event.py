"""Indicators as one writes them at first: an object a symbol, plain floats, one event at a time.

24 values much like those of our own catalogue, written with care (deques with running sums, nothing is computed twice), so that
the comparison in `infra.bench.peers` is with a good version of the usual way.
"""

from collections import deque
from dataclasses import dataclass, field
from math import exp, log
from typing import Final

from schemas.events import Quote, Trade

NS: Final = 1e9
DAY_S: Final = 86_400


class Ewm:
    """Exponential mean by half-life in event time."""

    def __init__(self, half_life_s: float) -> None:
        self._rate, self._at, self.value = log(2) / half_life_s, 0.0, 0.0

    def add(self, x: float, at: float) -> float:
        weight = exp(-self._rate * max(at - self._at, 0.0)) if self._at else 0.0
        self.value += (1.0 - weight) * (x - self.value)
        self._at = max(at, self._at)
        return self.value


class Sums:
    """Sums of pairs over the last so many seconds."""

    def __init__(self, window_s: float) -> None:
        self._window, self.a, self.b = window_s, 0.0, 0.0
        self.items: deque[tuple[float, float, float]] = deque()

    def add(self, a: float, b: float, at: float) -> None:
        self.items.append((at, a, b))
        self.a += a
        self.b += b
        self.move(at)

    def move(self, at: float) -> None:
        items, edge = self.items, at - self._window
        while items and items[0][0] <= edge:
            _, a, b = items.popleft()
            self.a -= a
            self.b -= b


class Extreme:
    """Greatest of `sign` times the value over the last so many seconds."""

    def __init__(self, window_s: float, sign: float) -> None:
        self._window, self._sign = window_s, sign
        self._items: deque[tuple[float, float]] = deque()

    def add(self, x: float, at: float) -> float:
        items, x = self._items, self._sign * x
        while items and items[-1][1] <= x:
            items.pop()
        items.append((at, x))
        while items[0][0] <= at - self._window:
            items.popleft()
        return self._sign * items[0][1]


@dataclass(slots=True)
class Closes:
    """RSI, MACD and Bollinger z of one-second closes."""

    second: int = -1
    last: float = 0.0
    up: float = 0.0
    down: float = 0.0
    fast: float = 0.0
    slow: float = 0.0
    signal: float = 0.0
    window: deque[float] = field(default_factory=lambda: deque(maxlen=20))

    def add(self, price: float, at: float) -> None:
        if int(at) == self.second:
            return
        self.second = int(at)
        if not self.last:
            self.last = self.fast = self.slow = price
        change, self.last = price - self.last, price
        self.up += (max(change, 0.0) - self.up) / 14
        self.down += (max(-change, 0.0) - self.down) / 14
        self.fast += (price - self.fast) * 2 / 13
        self.slow += (price - self.slow) * 2 / 27
        self.signal += (self.fast - self.slow - self.signal) * 2 / 10
        self.window.append(price)

    def values(self, price: float) -> tuple[float, float, float]:
        moved, n = self.up + self.down, len(self.window)
        mean = sum(self.window) / n
        deviation = (sum((x - mean) ** 2 for x in self.window) / n) ** 0.5
        return (
            100 * self.up / moved if moved else 50.0,
            (self.fast - self.slow - self.signal) / price,
            (price - mean) / deviation if deviation else 0.0,
        )


class SymbolState:
    """Everything that is remembered of one symbol."""

    NAMES: Final = (
        "return_1", "return_5", "return_30", "volatility_5", "volatility_60", "volatility_300", "sign_2", "sign_20",
        "vwap_10", "flow_10", "intensity_10", "vwap_60", "flow_60", "intensity_60", "book_imbalance", "spread",
        "microprice", "rsi", "macd", "bollinger", "to_high", "to_low", "since_trade", "time_of_day",
    )  # fmt: skip

    def __init__(self) -> None:
        self.mid = self.traded_at = 0.0
        self.returns = {s: Ewm(s) for s in (1, 5, 30)}
        self.squares = {s: Ewm(s) for s in (5, 60, 300)}
        self.signs = {s: Ewm(s) for s in (2, 20)}
        self.volumes = {s: Sums(s) for s in (10, 60)}
        self.flows = {s: Sums(s) for s in (10, 60)}
        self.counts = {s: Sums(s) for s in (10, 60)}
        self.high, self.low, self.closes = Extreme(60, 1), Extreme(60, -1), Closes()
        self.book = {"book_imbalance": 0.0, "spread": 0.0, "microprice": 0.0}

    def add(self, event: Trade | Quote) -> dict[str, float]:
        """The values after this event."""
        at = event.ts_event / NS
        if isinstance(event, Quote):
            mid = (event.bid + event.ask) / 2
            self._quote(event, mid)
        else:
            mid = self.mid or event.price
            self._trade(event, mid, at)
        change, self.mid = log(mid / self.mid) if self.mid else 0.0, mid
        self.closes.add(mid, at)
        rsi, macd, bollinger = self.closes.values(mid)
        values = {f"return_{s}": ewm.add(change, at) for s, ewm in self.returns.items()}
        for s, ewm in self.squares.items():
            values[f"volatility_{s}"] = ewm.add(change * change, at) ** 0.5
        for s, ewm in self.signs.items():
            values[f"sign_{s}"] = ewm.value
        for s in (10, 60):
            volume, flow, count = self.volumes[s], self.flows[s], self.counts[s]
            volume.move(at)
            flow.move(at)
            count.add(1.0, 0.0, at)
            values[f"vwap_{s}"] = mid / (volume.b / volume.a) - 1 if volume.a > 0 else 0.0
            values[f"flow_{s}"] = flow.a / flow.b if flow.b > 0 else 0.0
            values[f"intensity_{s}"] = count.a / s
        values |= self.book
        values["rsi"], values["macd"], values["bollinger"] = rsi, macd, bollinger
        values["to_high"] = mid / self.high.add(mid, at) - 1
        values["to_low"] = mid / self.low.add(mid, at) - 1
        values["since_trade"] = at - self.traded_at if self.traded_at else 0.0
        values["time_of_day"] = at % DAY_S
        return values

    def _quote(self, quote: Quote, mid: float) -> None:
        size = quote.bid_size + quote.ask_size
        if size > 0:
            self.book["book_imbalance"] = (quote.bid_size - quote.ask_size) / size
            self.book["microprice"] = (quote.bid * quote.ask_size + quote.ask * quote.bid_size) / size / mid - 1
        self.book["spread"] = (quote.ask - quote.bid) / mid

    def _trade(self, trade: Trade, mid: float, at: float) -> None:
        sign = {"buy": 1.0, "sell": -1.0, "unknown": float((trade.price > mid) - (trade.price < mid))}[trade.side]
        self.traded_at = at
        for ewm in self.signs.values():
            ewm.add(sign, at)
        for sums in self.volumes.values():
            sums.add(trade.size, trade.size * trade.price, at)
        for sums in self.flows.values():
            sums.add(sign * trade.size, trade.size, at)
