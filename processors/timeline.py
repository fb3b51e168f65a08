"""Which events are folded, and when: identities, lateness, the clock of each symbol, and its sessions.

Every event leaves by one door: folded, duplicate, late, or control. Time is the log's: `now` of a symbol is the newest
event time it has seen, and heartbeats of its venue move it while nothing trades. News is folded when it arrives, at `now`,
however old it is, and moves no clock: its publisher's is not the market's. Until the market is heard for the first time there
is no other time than the first news's; a market that is behind it begins anew.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import NEWS, PRINT, QUOTE, TRADE, Codes, Flags, Integers
from processors.columns import CANCEL, CORRECT, HEARTBEAT, EventColumns
from processors.sessions import Sessions, session_at

FOLDED: Final = 0
DUPLICATE: Final = 1
LATE: Final = 2
CONTROL: Final = 3

WINDOW: Final = 4096
"""An identity is remembered by its sequence number while the newest is less than this ahead."""
NEWS_KEPT: Final = 64
"""News identities are hashes: as many are remembered per symbol."""
FIXES_KEPT: Final = 32
"""Corrections, and cancellations, whose numbers are remembered per symbol."""


@dataclass(slots=True)
class Timeline:
    """Arrays, one row a symbol; `clock` is [symbols, 5]: now, next session's start, open, close, session of last row."""

    clock: NDArray[np.int64]
    newest: NDArray[np.int64]
    """[symbols, 4]: highest sequence number of trades, of quotes; end of the session in which each came."""
    seen: NDArray[np.uint64]
    """[symbols, 2, WINDOW / 64]: bit per sequence number below the highest."""
    news: NDArray[np.int64]
    """[symbols, NEWS_KEPT + 1]: the last identities, and where the next goes."""
    fixes: NDArray[np.int64]
    """[symbols, 2, FIXES_KEPT + 1]: the same of corrections and of cancellations."""
    calendar: NDArray[np.int32]
    venue: NDArray[np.int32]
    """Number of the venue that trades the symbol, -1 while only news came."""

    @classmethod
    def start(cls, symbols: int) -> "Timeline":
        """Nothing seen."""
        clock = np.full((symbols, 5), -1, np.int64)
        return cls(
            clock=clock,
            newest=np.full((symbols, 4), -1, np.int64),
            seen=np.zeros((symbols, 2, WINDOW // 64), np.uint64),
            news=_nothing_kept((symbols, NEWS_KEPT + 1)),
            fixes=_nothing_kept((symbols, 2, FIXES_KEPT + 1)),
            calendar=np.zeros(symbols, np.int32),
            venue=np.full(symbols, -1, np.int32),
        )

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.clock, self.newest, self.seen, self.news, self.fixes, self.calendar, self.venue)


def _nothing_kept(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Rings of identities, and in the last place where the next one goes."""
    rings = np.full(shape, -1, np.int64)
    rings[..., -1] = 0
    return rings


@dataclass(frozen=True, slots=True)
class Placed:
    """Where every event went, arrays of length n.

    door     FOLDED, DUPLICATE, LATE or CONTROL       now      event time of the symbol after it, ns
    fresh    first folded row of its symbol in a session
    opened, closes   regular trading of that session, ns      until    start of the next session, ns
    unsure   its number is too far below the newest to tell whether it was seen
    """

    door: Codes
    now: Integers
    fresh: Flags
    opened: Integers
    closes: Integers
    until: Integers
    unsure: Flags


def place(
    events: EventColumns, timeline: Timeline, symbols: int, calendars: Integers, sessions: Sessions, lateness_ns: int
) -> Placed:
    """Decide for every event, in log order.

    symbols: how many rows are in use. calendars: which line of `sessions.bounds` each venue keeps to.
    """
    n = len(events.kind)
    placed = Placed(
        np.full(n, CONTROL, np.int8), np.zeros(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.int64),
        np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_),
    )  # fmt: skip
    _place(
        events.kind, events.row, events.venue, events.seq, events.ts_event, symbols, lateness_ns, calendars,
        sessions.table, sessions.bounds, timeline.clock, timeline.newest, timeline.seen, timeline.news,
        timeline.fixes, timeline.calendar, timeline.venue, placed.door, placed.now, placed.fresh, placed.opened,
        placed.closes, placed.until, placed.unsure,
    )  # fmt: skip
    return placed


@njit(cache=True)
def _place(  # type: ignore[no-untyped-def]
    kind, row, venue, seq, ts, symbols, lateness, calendars, table, bounds, clock, newest, seen, news, fixes, calendar,
    venue_of, door, now, fresh, opened, closes, until, unsure,
):  # fmt: skip
    for i in range(len(kind)):
        if kind[i] == HEARTBEAT:
            for s in range(symbols):
                if venue_of[s] == venue[i] and ts[i] > clock[s, 0] >= 0:
                    _move(clock[s], calendar[s], ts[i], table, bounds)
        elif kind[i] == TRADE or kind[i] == PRINT or kind[i] == QUOTE or kind[i] == NEWS:
            s = row[i]
            if kind[i] == NEWS:
                known = _kept(news[s], seq[i])
            else:
                if venue_of[s] < 0:
                    venue_of[s], calendar[s] = venue[i], calendars[venue[i]]
                    clock[s, 1] = -1
                    if ts[i] < clock[s, 0]:  # only news has told the time so far, and what happened by it is not ahead
                        clock[s, 0] = clock[s, 4] = -1
                feed = 1 if kind[i] == QUOTE else 0
                known = _seen(newest[s], seen[s, feed], feed, seq[i], ts[i], clock[s, 0])
                unsure[i] = newest[s, feed] - seq[i] >= WINDOW
            heard = clock[s, 0] >= 0
            if known:
                door[i] = DUPLICATE
            elif kind[i] != NEWS and ts[i] < clock[s, 0] - lateness:
                door[i] = LATE
            else:
                door[i] = FOLDED
                moves = ts[i] > clock[s, 0] and (kind[i] != NEWS or not heard)
                if moves or clock[s, 1] < 0:
                    _move(clock[s], calendar[s], ts[i] if moves else clock[s, 0], table, bounds)
                fresh[i] = clock[s, 1] != clock[s, 4]
                clock[s, 4] = clock[s, 1]
                opened[i], closes[i], until[i] = clock[s, 2], clock[s, 3], clock[s, 1]
            if not known and kind[i] != NEWS and newest[s, feed] == seq[i]:
                newest[s, 2 + feed] = clock[s, 1]
            now[i] = clock[s, 0]
        elif kind[i] == CORRECT or kind[i] == CANCEL:
            s = row[i]
            now[i] = clock[s, 0]
            if _kept(fixes[s, 0 if kind[i] == CORRECT else 1], seq[i]):
                door[i] = DUPLICATE


@njit(cache=True)
def _move(clock, calendar, ts, table, bounds):  # type: ignore[no-untyped-def]
    clock[0] = ts
    if ts >= clock[1]:
        _, clock[2], clock[3], clock[1] = session_at(calendar, ts, table, bounds)


@njit(cache=True)
def _seen(newest, bits, feed, seq, ts, clock):  # type: ignore[no-untyped-def]
    """Whether the number was seen; remembers it. The venue counts anew where a number is far below the highest at the newest
    time, and where one that was seen comes in a later session than that of the highest: a copy has the time of the first.
    """
    ahead = seq - newest[feed]
    again = -WINDOW < ahead <= 0 and _has(bits, seq) and ts >= newest[2 + feed] >= 0
    if newest[feed] < 0 or ahead >= WINDOW or (ahead <= -WINDOW and ts >= clock) or again:
        bits[:] = 0
        newest[feed] = seq
    elif ahead > 0:
        for k in range(newest[feed] + 1, seq):
            bits[(k % WINDOW) // 64] &= ~(np.uint64(1) << np.uint64(k % 64))
        newest[feed] = seq
    elif ahead <= -WINDOW:
        return False
    elif _has(bits, seq):
        return True
    bits[(seq % WINDOW) // 64] |= np.uint64(1) << np.uint64(seq % 64)
    return False


@njit(cache=True)
def _has(bits, seq):  # type: ignore[no-untyped-def]
    return (bits[(seq % WINDOW) // 64] >> np.uint64(seq % 64)) & np.uint64(1) != 0


@njit(cache=True)
def _kept(ring, seq):  # type: ignore[no-untyped-def]
    """Whether the identity is among the last ones; remembers it."""
    room = len(ring) - 1
    for k in range(room):
        if ring[k] == seq:
            return True
    ring[ring[room]] = seq
    ring[room] = (ring[room] + 1) % room
    return False
