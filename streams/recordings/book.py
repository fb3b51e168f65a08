"""An order book kept from a snapshot and diffs by Binance's documented procedure; pure."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

Level: TypeAlias = tuple[float, float]
"""Price and quantity; quantity 0 takes the level out."""
Outcome: TypeAlias = Literal["applied", "old", "waiting", "gap"]
MAX_WAITING: Final = 10_000


class Top(NamedTuple):
    """Best bid and offer."""

    bid: float
    bid_size: float
    ask: float
    ask_size: float


class Diff(NamedTuple):
    """One depth update: everything that changed by the updates `first` to `last`."""

    first: int
    last: int
    before: int | None
    """Futures: `last` of the diff before this one (`pu`); none on the spot market."""
    bids: Sequence[Level]
    asks: Sequence[Level]


@dataclass(slots=True)
class _Side:
    """Quantity by price; `sign` +1 where the highest price is best, -1 where the lowest is."""

    sign: int
    quantity: dict[float, float] = field(default_factory=dict)
    best: float = 0.0
    """Best price; 0 while there is none."""

    def put(self, levels: Sequence[Level]) -> None:
        for price, quantity in levels:
            if quantity > 0:
                self.quantity[price] = quantity
                if not self.best or self.sign * price > self.sign * self.best:
                    self.best = price
            elif self.quantity.pop(price, None) is not None and price == self.best:
                self.best = self.sign * max((self.sign * p for p in self.quantity), default=0.0)


class OrderBook:
    """The levels of one instrument.

    Before a snapshot, diffs wait. At a snapshot those that it holds already are dropped, and the first of the others
    must reach across it: spot U <= lastUpdateId + 1 <= u, futures U <= lastUpdateId <= u or pu = lastUpdateId. From
    then on each diff must follow the one before: spot U = u before + 1, futures pu = u before. A diff that does not is
    a gap: the book is unknown until the next snapshot.
    """

    def __init__(self) -> None:
        self.last = 0
        """Newest update id the book holds."""
        self._state: Literal["waiting", "snapshot", "chained"] = "waiting"
        self._waiting: deque[Diff] = deque(maxlen=MAX_WAITING)
        self._bids, self._asks = _Side(1), _Side(-1)

    @property
    def top(self) -> Top | None:
        """Best bid and offer; none while the book is unknown or a side is empty."""
        if self._state == "waiting" or not self._bids.best or not self._asks.best:
            return None
        bid, ask = self._bids.best, self._asks.best
        return Top(bid, self._bids.quantity[bid], ask, self._asks.quantity[ask])

    def load(self, last: int, bids: Sequence[Level], asks: Sequence[Level]) -> bool:
        """Start from a snapshot and apply what waited; one older than the book changes nothing.

        Returns: whether the book is known now; False too where a diff that waited leaves a gap.
        """
        if self._state == "chained" and last <= self.last:
            return True
        self._bids, self._asks = _Side(1), _Side(-1)
        self._bids.put(bids)
        self._asks.put(asks)
        self.last, self._state = last, "snapshot"
        waited, self._waiting = self._waiting, deque(maxlen=MAX_WAITING)
        outcomes = [self.apply(diff) for diff in waited]
        return "gap" not in outcomes

    def apply(self, diff: Diff) -> Outcome:
        """Take one diff: `applied`, `old` (the book holds it already), `waiting` (no snapshot yet) or a `gap`."""
        if self._state == "waiting":
            self._waiting.append(diff)
            return "waiting"
        if self._is_old(diff):
            return "old"
        if not self._follows(diff):
            self._state = "waiting"
            self._waiting.append(diff)
            return "gap"
        self._bids.put(diff.bids)
        self._asks.put(diff.asks)
        self.last, self._state = diff.last, "chained"
        return "applied"

    def _is_old(self, diff: Diff) -> bool:
        if self._state == "snapshot" and diff.before is not None:
            return diff.last < self.last
        return diff.last <= self.last

    def _follows(self, diff: Diff) -> bool:
        if self._state == "chained":
            return diff.first == self.last + 1 if diff.before is None else diff.before == self.last
        if diff.before is None:
            return diff.first <= self.last + 1 <= diff.last
        return diff.before == self.last or diff.first <= self.last <= diff.last
