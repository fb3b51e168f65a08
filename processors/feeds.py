"""When the feed of each venue was down: its own word, by heartbeats, and its silence."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

HEARD, NEWEST, OUTAGES, DOWN = range(4)
KEPT: Final = 16
"""Outages remembered per venue: a bar with more of them within it tells of the last ones."""


@dataclass(slots=True)
class FeedTimes:
    """[venues, 4 + 2 KEPT]: first time heard of, newest heartbeat, outages so far, down now; (start, end) of the last ones.

    An end of -1: not over.
    """

    known: NDArray[np.int64]
    stopped: NDArray[np.int8]
    """[venues]: the whole venue is halted or closed, by its word."""

    @classmethod
    def start(cls, venues: int) -> "FeedTimes":
        """Nothing heard."""
        known = np.full((venues, 4 + 2 * KEPT), -1, np.int64)
        known[:, [OUTAGES, DOWN]] = 0
        return cls(known, np.zeros(venues, np.int8))

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.known, self.stopped)


@njit(cache=True)
def hear(feed, ts, up, longest):  # type: ignore[no-untyped-def]
    """A heartbeat; one that comes more than `longest` after the one before it tells of an outage between them."""
    if feed[HEARD] < 0:
        feed[HEARD] = ts
    if feed[DOWN] == 0:
        if feed[NEWEST] >= 0 and ts - feed[NEWEST] > longest:
            _note(feed, feed[NEWEST], ts)
        if not up:
            _note(feed, ts, -1)
            feed[DOWN] = 1
    elif up:
        last = 4 + 2 * ((feed[OUTAGES] - 1) % KEPT)
        feed[last + 1] = max(ts, feed[last])
        feed[DOWN] = 0
    feed[NEWEST] = max(feed[NEWEST], ts)


@njit(cache=True)
def _note(feed, start, end):  # type: ignore[no-untyped-def]
    at = 4 + 2 * (feed[OUTAGES] % KEPT)
    feed[at], feed[at + 1] = start, end
    feed[OUTAGES] += 1


@njit(cache=True)
def down_ms(feed, start, end, now, longest):  # type: ignore[no-untyped-def]
    """Milliseconds within [start, end) that the feed was down, as far as is known at `now`."""
    total = np.int64(0)
    for k in range(min(feed[OUTAGES], KEPT)):
        until = feed[5 + 2 * k] if feed[5 + 2 * k] >= 0 else end
        total += max(0, min(end, until) - max(start, feed[4 + 2 * k]))
    if feed[DOWN] == 0 and feed[NEWEST] >= 0 and now - feed[NEWEST] > longest:
        total += max(0, end - max(start, feed[NEWEST]))
    return min(total, end - start) // 1_000_000
