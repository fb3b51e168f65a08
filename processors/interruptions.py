"""Where trading, or hearing of it, was interrupted: what is asked before such a place has no answer behind it.

A halt or a close is the venue's own word (`SessionMark`); a gap is its silence, by heartbeats, or its word that it is down.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Codes, Flags
from processors.columns import CLOSES, HEARTBEAT, SESSION, EventColumns
from processors.feeds import DOWN, NEWEST, FeedTimes
from processors.timeline import FOLDED, Placed, Timeline

NOT, HALT, GAP, SESSION_END = range(4)
REASONS: Final = ("", "halt", "gap", "session")
"""Why a label is void, by number; the first is that it is not."""


@dataclass(frozen=True, slots=True)
class Interruptions:
    """Of a stretch.

    breaks   int8 [events]: 0, or why nothing may reach over this event; negative where what lies before it was not heard of
    asked    bool [folded rows]: whether a prediction may be parked: nothing is halted, and its venue is heard
    """

    breaks: Codes
    asked: Flags


def interruptions(
    events: EventColumns, placed: Placed, timeline: Timeline, feeds: FeedTimes, halted: NDArray[np.int8],
    owners: NDArray[np.int32], longest_ns: int,
) -> Interruptions:  # fmt: skip
    """Find them, in log order.

    halted       [symbols], trading of the symbol alone is stopped; brought up to date, as is `feeds.stopped`
    owners       [symbols], number of the venue that named each first, by a mark too: a halt may come before any trade
    feeds        its heartbeats must be those before the stretch
    longest_ns   heartbeats of a venue further apart leave a gap
    """
    rows = int(np.count_nonzero(placed.door == FOLDED))
    found = Interruptions(np.zeros(len(events.kind), np.int8), np.zeros(rows, np.bool_))
    beats = np.ascontiguousarray(feeds.known[:, [NEWEST, DOWN]])
    _find(
        events.kind, events.row, events.venue, events.ts_event, events.up, events.mark, placed.door, placed.now,
        timeline.venue, owners, longest_ns, beats, feeds.stopped, halted, found.breaks, found.asked,
    )  # fmt: skip
    return found


@njit(cache=True)
def _find(  # type: ignore[no-untyped-def]
    kind, row, venue, ts, up, mark, door, now, venue_of, owners, longest, beats, stopped, halted, breaks, asked,
):  # fmt: skip
    r = 0
    for i in range(len(kind)):
        if kind[i] == HEARTBEAT:
            breaks[i] = _beat(beats[venue[i]], ts[i], up[i], longest)
        elif kind[i] == SESSION:
            if mark[i] > 0:
                breaks[i] = SESSION_END if mark[i] == CLOSES else HALT
            if row[i] >= 0:
                halted[row[i]] = mark[i] > 0
                continue
            stopped[venue[i]] = mark[i] > 0
            if mark[i] < 0:
                for s in range(len(owners)):
                    if owners[s] == venue[i]:
                        halted[s] = 0
        elif door[i] == FOLDED:
            s = row[i]
            v = venue_of[s]
            silent = v >= 0 and beats[v, 0] >= 0 and now[i] - beats[v, 0] > longest
            if silent:
                breaks[i] = -GAP
            asked[r] = not (halted[s] or silent or (v >= 0 and (stopped[v] or beats[v, 1] == 1)))
            r += 1


@njit(cache=True)
def _beat(feed, ts, up, longest):  # type: ignore[no-untyped-def]
    """What a heartbeat says of the time before it; `feed`: newest heartbeat, and whether it said that it is down."""
    said = NOT
    if feed[1] != 1:
        if feed[0] >= 0 and ts - feed[0] > longest:
            said = -GAP
        elif not up:
            said = GAP
    feed[0], feed[1] = max(feed[0], ts), 0 if up else 1
    return said
