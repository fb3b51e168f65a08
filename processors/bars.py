"""Bars of trades: by time, by number of trades, by volume, by value.

A time bar takes the trades whose own time falls into it and closes once the symbol's clock is `lateness` past its end, so
trades that come out of order within the lateness find their bar open. Empty intervals have no bar. The other kinds count
trades in the order of the log; the trade that reaches the size closes the bar and belongs to it whole; what is open at
the end of a session is closed as partial.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import NS, TRADE, Integers
from processors.columns import HEARTBEAT, EventColumns
from processors.timeline import FOLDED, Placed, Timeline
from schemas.errors import IndicatorError

SLOTS: Final = 2
"""Time bars of one kind that may be open at once."""
BY_TIME, BY_COUNT, BY_VOLUME, BY_VALUE = 0, 1, 2, 3

OPEN, HIGH, LOW, CLOSE, VOLUME, VALUE = range(6)
START, END, N_TRADES, FIRST_TS, FIRST_SEQ, LAST_TS, LAST_SEQ, DISORDERED = range(8)


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
    """Closed bars in the order in which they closed; m lines each.

    event    event of the stretch that closed it      row, kind   symbol row, number of the kind
    numbers  float64 [m, 6]: open, high, low, close, volume, value
    stamps   int64 [m, 8]: start, end, trades, first ts and seq, last ts and seq, trades out of order
    partial  bool [m]                                  gap_ms      int64 [m]: the feed was down that long within it
    """

    event: Integers
    row: Integers
    kind: Integers
    numbers: NDArray[np.float64]
    stamps: NDArray[np.int64]
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
    numbers: NDArray[np.float64] = field(init=False)
    stamps: NDArray[np.int64] = field(init=False)
    due: NDArray[np.int64] = field(init=False)
    """[symbols]: no time bar has to close before this."""

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
        self.due = np.full(self.symbols, np.iinfo(np.int64).max)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.numbers, self.stamps, self.due)

    def fold(
        self, events: EventColumns, placed: Placed, timeline: Timeline, feeds: "FeedTimes", symbols: int
    ) -> ClosedBars:
        """Take the stretch's trades into their bars; the bars that closed."""
        by = np.array([kind.by for kind in self.kinds], np.int64)
        size = np.array([kind.size for kind in self.kinds])
        room = max(1024, 2 * symbols * len(self.kinds) * SLOTS)
        found, at = [], 0
        while at < len(events.kind):
            out = ClosedBars(
                np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 6)),
                np.empty((room, 8), np.int64), np.empty(room, np.bool_), np.empty(room, np.int64),
            )  # fmt: skip
            at, m = _fold(
                at, events.kind, events.row, events.venue, events.seq, events.ts_event, events.up, events.price,
                events.size, placed.door, placed.now, placed.fresh, timeline.venue, symbols, self.lateness_ns, by, size,
                self.numbers, self.stamps, self.due, feeds.known, out.event, out.row, out.kind,
                out.numbers, out.stamps, out.partial, out.gap_ms,
            )  # fmt: skip
            found.append(ClosedBars(*(getattr(out, name)[:m] for name in ClosedBars.__slots__)))
        if len(found) == 1:
            return found[0]
        return ClosedBars(*(_joined([getattr(part, name) for part in found], name) for name in ClosedBars.__slots__))


@dataclass(slots=True)
class FeedTimes:
    """[venues, 4]: first time heard of, start and end of the last outage (-1: none, or not over), newest heartbeat."""

    known: NDArray[np.int64]

    @classmethod
    def start(cls, venues: int) -> "FeedTimes":
        """Nothing heard."""
        return cls(np.full((venues, 4), -1, np.int64))

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.known,)


_EMPTY: Final = {"numbers": (np.float64, (0, 6)), "stamps": (np.int64, (0, 8)), "partial": (np.bool_, (0,))}


def _joined(parts: list[NDArray[Any]], name: str) -> NDArray[Any]:
    if parts:
        return np.concatenate(parts)
    dtype, shape = _EMPTY.get(name, (np.int64, (0,)))
    return np.empty(shape, dtype)


@njit(cache=True)
def _fold(  # type: ignore[no-untyped-def]
    at, kind, row, venue, seq, ts, up, price, size, door, now, fresh, venue_of, symbols, lateness, by, cut, numbers,
    stamps, due, feeds, o_event, o_row, o_kind, o_numbers, o_stamps, o_partial, o_gap,
):  # fmt: skip
    m = 0
    most = symbols * len(by) * SLOTS + 2 * len(by)
    for i in range(at, len(kind)):
        if m + most > len(o_event):
            return i, m
        if kind[i] == HEARTBEAT:
            _hear(feeds[venue[i]], ts[i], up[i])
            for s in range(symbols):
                if venue_of[s] == venue[i] and due[s] + lateness <= ts[i]:
                    m = _close_due(
                        i, s, ts[i], lateness, by, numbers, stamps, due, feeds[venue[i]], m, o_event, o_row, o_kind,
                        o_numbers, o_stamps, o_partial, o_gap,
                    )  # fmt: skip
        elif door[i] == FOLDED:
            s = row[i]
            feed = feeds[venue_of[s]]
            if due[s] + lateness <= now[i]:
                m = _close_due(
                    i, s, now[i], lateness, by, numbers, stamps, due, feed, m, o_event, o_row, o_kind, o_numbers,
                    o_stamps, o_partial, o_gap,
                )  # fmt: skip
            if fresh[i]:
                m = _close_partial(
                    i, s, by, numbers, stamps, feed, m, o_event, o_row, o_kind, o_numbers, o_stamps, o_partial, o_gap,
                )  # fmt: skip
            if kind[i] == TRADE:
                if feed[0] < 0:
                    feed[0] = ts[i]
                for k in range(len(by)):
                    slot = 0
                    if by[k] == BY_TIME:
                        width = np.int64(cut[k])
                        number = ts[i] // width
                        slot = number % SLOTS
                        start, end = number * width, (number + 1) * width
                        due[s] = min(due[s], end)
                    else:
                        start, end = ts[i], ts[i]
                    _take(numbers[s, k, slot], stamps[s, k, slot], ts[i], seq[i], price[i], size[i], start, end)
                    if by[k] != BY_TIME:
                        stamps[s, k, slot, END] = max(stamps[s, k, slot, END], ts[i])
                        filled = stamps[s, k, slot, N_TRADES] if by[k] == BY_COUNT else numbers[s, k, slot, VOLUME]
                        if by[k] == BY_VALUE:
                            filled = numbers[s, k, slot, VALUE]
                        if filled >= cut[k]:
                            m = _close(
                                i, s, k, slot, False, numbers, stamps, feed, m, o_event, o_row, o_kind, o_numbers,
                                o_stamps, o_partial, o_gap,
                            )  # fmt: skip
    return len(kind), m


@njit(cache=True)
def _hear(feed, ts, up):  # type: ignore[no-untyped-def]
    """A heartbeat: known since when, down from when to when."""
    if feed[0] < 0:
        feed[0] = ts
    if not up and (feed[1] < 0 or feed[2] >= 0):
        feed[1], feed[2] = ts, -1
    elif up and feed[1] >= 0 and feed[2] < 0:
        feed[2] = ts
    feed[3] = max(feed[3], ts)


@njit(cache=True)
def _take(numbers, stamps, ts, seq, price, size, start, end):  # type: ignore[no-untyped-def]
    """Add a trade; open and close are the first and the last by (time, sequence), whatever the order of arrival."""
    if stamps[N_TRADES] == 0:
        stamps[START], stamps[END] = start, end
        stamps[FIRST_TS], stamps[FIRST_SEQ], stamps[LAST_TS], stamps[LAST_SEQ] = ts, seq, ts, seq
        stamps[DISORDERED] = 0
        numbers[OPEN], numbers[HIGH], numbers[LOW], numbers[CLOSE] = price, price, price, price
        numbers[VOLUME], numbers[VALUE] = 0.0, 0.0
    elif ts < stamps[LAST_TS] or (ts == stamps[LAST_TS] and seq < stamps[LAST_SEQ]):
        stamps[DISORDERED] += 1
    else:
        stamps[LAST_TS], stamps[LAST_SEQ], numbers[CLOSE] = ts, seq, price
    if ts < stamps[FIRST_TS] or (ts == stamps[FIRST_TS] and seq < stamps[FIRST_SEQ]):
        stamps[FIRST_TS], stamps[FIRST_SEQ], numbers[OPEN] = ts, seq, price
    numbers[HIGH], numbers[LOW] = max(numbers[HIGH], price), min(numbers[LOW], price)
    numbers[VOLUME] += size
    numbers[VALUE] += price * size
    stamps[N_TRADES] += 1


@njit(cache=True)
def _close_due(  # type: ignore[no-untyped-def]
    i, s, now, lateness, by, numbers, stamps, due, feed, m, o_event, o_row, o_kind, o_numbers, o_stamps, o_partial,
    o_gap,
):  # fmt: skip
    """Close the time bars whose end is `lateness` past, the older first."""
    due[s] = np.iinfo(np.int64).max
    for k in range(len(by)):
        if by[k] != BY_TIME:
            continue
        first = 0 if stamps[s, k, 0, START] <= stamps[s, k, 1, START] else 1
        for j in range(SLOTS):
            slot = (first + j) % SLOTS
            if stamps[s, k, slot, N_TRADES] == 0:
                continue
            if stamps[s, k, slot, END] + lateness <= now:
                m = _close(
                    i, s, k, slot, False, numbers, stamps, feed, m, o_event, o_row, o_kind, o_numbers, o_stamps,
                    o_partial, o_gap,
                )  # fmt: skip
            else:
                due[s] = min(due[s], stamps[s, k, slot, END])
    return m


@njit(cache=True)
def _close_partial(  # type: ignore[no-untyped-def]
    i, s, by, numbers, stamps, feed, m, o_event, o_row, o_kind, o_numbers, o_stamps, o_partial, o_gap,
):  # fmt: skip
    """A new session: what counts trades, volume or value starts anew."""
    for k in range(len(by)):
        if by[k] != BY_TIME and stamps[s, k, 0, N_TRADES] > 0:
            m = _close(
                i, s, k, 0, True, numbers, stamps, feed, m, o_event, o_row, o_kind, o_numbers, o_stamps, o_partial,
                o_gap,
            )  # fmt: skip
    return m


@njit(cache=True)
def _close(  # type: ignore[no-untyped-def]
    i, s, k, slot, partial, numbers, stamps, feed, m, o_event, o_row, o_kind, o_numbers, o_stamps, o_partial, o_gap,
):  # fmt: skip
    o_event[m], o_row[m], o_kind[m] = i, s, k
    o_numbers[m, :] = numbers[s, k, slot]
    o_stamps[m, :] = stamps[s, k, slot]
    start, end = stamps[s, k, slot, START], stamps[s, k, slot, END]
    o_partial[m] = partial or start < feed[0]
    down = feed[1]
    until = feed[2] if feed[2] >= 0 else feed[3]
    overlap = min(end, until) - max(start, down)
    o_gap[m] = overlap // 1_000_000 if down >= 0 and overlap > 0 else 0
    stamps[s, k, slot, N_TRADES] = 0
    return m + 1
