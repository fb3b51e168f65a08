"""Bars of trades: by time, by number of trades, by volume, by value.

A time bar takes the trades whose own time falls into it and closes once the symbol's clock is `lateness` past its end, so
trades that come out of order within the lateness, or later while it is still open, find their bar. Empty intervals have no
bar. The other kinds count trades in the order of the log; the trade that reaches the size closes the bar and belongs to it
whole; what is open at the end of a session is closed as partial. Volume and value are sums rounded once: no order of
arrival shows in them. What comes too late for a bar, and what corrects one, is asked for as a revision.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from processors.bar_kernel import BY_COUNT, BY_TIME, BY_VALUE, BY_VOLUME, SLOTS, fold
from processors.batch import NS, Integers
from processors.columns import EventColumns
from processors.exact import LIMBS
from processors.feeds import FeedTimes
from processors.timeline import Placed, Timeline
from schemas.errors import IndicatorError

__all__ = ["BY_COUNT", "BY_TIME", "BY_VALUE", "BY_VOLUME", "KINDS", "BarBuilder", "BarKind", "ClosedBars"]
REASONS: Final = ("closed", "late", "correct", "cancel")
"""Why a bar was issued, by number."""


@dataclass(frozen=True, slots=True)
class BarKind:
    """How one kind of bar is cut; `name` stands in rows."""

    name: str
    by: int
    size: float
    """Nanoseconds, trades, volume or value."""


KINDS: Final = (
    BarKind("1s", BY_TIME, NS),
    BarKind("1m", BY_TIME, 60 * NS),
    BarKind("5m", BY_TIME, 300 * NS),
    BarKind("tick100", BY_COUNT, 100),
    BarKind("volume10000", BY_VOLUME, 10_000),
    BarKind("value1000000", BY_VALUE, 1_000_000),
)


@dataclass(frozen=True, slots=True)
class ClosedBars:
    """Issued bars in the order of the events that issued them; m lines each.

    event    event of the stretch that closed it      row, kind   symbol row, number of the kind
    numbers  float64 [m, 6]: open, high, low, close, volume, value
    stamps   int64 [m, 8]: start, end, trades, first ts and seq, last ts and seq, trades late or out of order
    partial  bool [m]                                  gap_ms      int64 [m]: the feed was down that long within it
    rev      int64 [m], 0 as the fold closes them      reason      int64 [m], by `REASONS`
    """

    event: Integers
    row: Integers
    kind: Integers
    numbers: NDArray[np.float64]
    stamps: NDArray[np.int64]
    partial: NDArray[np.bool_]
    gap_ms: Integers
    rev: Integers
    reason: Integers

    def __len__(self) -> int:
        return len(self.event)


@dataclass(frozen=True, slots=True)
class RevisionRequests:
    """Bars that may have to be issued again, in log order; r lines each.

    event, row      as of `ClosedBars`                why         FOR_LATE, FOR_CORRECTION or FOR_CLOSED
    kind            number of the kind; -1 for a correction: whichever closed bars hold the trade that it refers to
    start, end      of the bar, ns                    partial, gap_ms   what a bar that was never issued has to say
    """

    event: Integers
    row: Integers
    kind: Integers
    start: Integers
    end: Integers
    why: Integers
    partial: NDArray[np.bool_]
    gap_ms: Integers

    def __len__(self) -> int:
        return len(self.event)


@dataclass(slots=True)
class BarBuilder:
    """Open bars of all symbols: [symbols, kinds, SLOTS, …]; a bar without trades is not open."""

    kinds: Sequence[BarKind]
    symbols: int
    lateness_ns: int
    heartbeat_gap_ns: int = 5 * NS
    numbers: NDArray[np.float64] = field(init=False)
    stamps: NDArray[np.int64] = field(init=False)
    sums: NDArray[np.int64] = field(init=False)
    """[symbols, kinds, SLOTS, 2, LIMBS]: exact volume and value."""
    due: NDArray[np.int64] = field(init=False)
    """[symbols]: no time bar has to close before this."""
    recheck: NDArray[np.int64] = field(init=False)
    """[symbols]: a time bar that starts no later is looked at again when it closes."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if not kind.size > 0:
                raise IndicatorError(f"bar {kind.name} needs a positive size, was {kind.size!r}")
            if kind.by == BY_TIME and kind.size < self.lateness_ns:
                raise IndicatorError(
                    f"bar {kind.name} is shorter than the allowed lateness of {self.lateness_ns / NS:g} s: more than "
                    f"{SLOTS} would be open at once; lengthen the bar or allow less"
                )
        shape = (self.symbols, len(self.kinds), SLOTS)
        self.numbers = np.zeros((*shape, 6))
        self.stamps = np.zeros((*shape, 8), np.int64)
        self.sums = np.zeros((*shape, 2, LIMBS), np.int64)
        self.due = np.full(self.symbols, np.iinfo(np.int64).max)
        self.recheck = np.full(self.symbols, -1, np.int64)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.numbers, self.stamps, self.sums, self.due, self.recheck)

    def fold(
        self, events: EventColumns, placed: Placed, timeline: Timeline, feeds: FeedTimes, symbols: int
    ) -> tuple[ClosedBars, RevisionRequests]:
        """Take the stretch's trades into their bars; the bars that closed, and those that may have to be issued again."""
        kinds = self.kinds
        rules = (
            self.lateness_ns, self.heartbeat_gap_ns, np.array([kind.by for kind in kinds], np.int64),
            np.array([kind.size for kind in kinds]),
        )  # fmt: skip
        columns = (
            events.kind, events.row, events.venue, events.seq, events.ts_event, events.up, events.price, events.size,
        )  # fmt: skip
        where = (placed.door, placed.now, placed.fresh, placed.unsure)
        room = max(1024, 2 * symbols * len(kinds) * SLOTS)
        bars, requests, at = [_bars(0)], [_requests(0)], 0
        while at < len(events.kind):
            out, asked = _bars(room), _requests(room)
            told = (out.event, out.row, out.kind, out.numbers, out.stamps, out.partial, out.gap_ms)
            at, m, r = fold(
                at, columns, where, timeline.venue, symbols, rules, self.arrays, feeds.known, told,
                tuple(getattr(asked, name) for name in RevisionRequests.__slots__),
            )  # fmt: skip
            bars.append(_first(out, m))
            requests.append(_first(asked, r))
        return _joined(bars), _joined(requests)


def _bars(room: int) -> ClosedBars:
    event, row, kind, gap_ms = (np.empty(room, np.int64) for _ in range(4))
    numbers, stamps, partial = np.empty((room, 6)), np.empty((room, 8), np.int64), np.empty(room, np.bool_)
    rev, reason = np.zeros(room, np.int64), np.zeros(room, np.int64)
    return ClosedBars(event, row, kind, numbers, stamps, partial, gap_ms, rev, reason)


def _requests(room: int) -> RevisionRequests:
    event, row, kind, start, end, why, gap_ms = (np.empty(room, np.int64) for _ in range(7))
    return RevisionRequests(event, row, kind, start, end, why, np.empty(room, np.bool_), gap_ms)


Lines = TypeVar("Lines", ClosedBars, RevisionRequests)


def _first(lines: Lines, n: int) -> Lines:
    return type(lines)(*(getattr(lines, name)[:n] for name in lines.__slots__))


def _joined(parts: Sequence[Lines]) -> Lines:
    """All lines; the first part is the empty one."""
    if len(parts) == 2:
        return parts[1]
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(part, name) for part in parts]) for name in kind.__slots__))
