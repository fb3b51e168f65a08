"""Trading sessions as integer arrays.

A session reaches from its start (local midnight of a trading day) to the start of the next; regular trading lies inside.
Where trading never stops a session is a UTC day.
"""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numba import njit

from processors.batch import NS, Integers

DAY_NS: Final = 86_400 * NS
ALWAYS_OPEN: Final = "24/7"


@dataclass(frozen=True)
class Calendar:
    """Sessions in order, int64 ns: start of the session, open and close of regular trading."""

    start: Integers
    open: Integers
    close: Integers


@dataclass(frozen=True)
class Sessions:
    """Which calendar each venue keeps; a venue without one is always open."""

    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    calendar_of_venue: Mapping[str, str] = field(default_factory=dict)
    table: Integers = field(init=False)
    """[3, all sessions]: start, open, close, one calendar after the other."""
    bounds: Integers = field(init=False)
    """[calendars + 1, 2]: where each begins and ends in `table`; line 0 is the always open one, which is empty."""

    def __post_init__(self) -> None:
        parts = [np.array([c.start, c.open, c.close]) for c in self.calendars.values()]
        ends = np.cumsum([0, *(part.shape[1] for part in parts)])
        bounds = np.array([[0, 0], *itertools.pairwise(ends)], np.int64)
        object.__setattr__(self, "table", np.concatenate([np.empty((3, 0), np.int64), *parts], axis=1))
        object.__setattr__(self, "bounds", bounds)

    def fingerprint(self) -> str:
        """Of everything that a fold takes from here: what it remembers of symbols names calendars by their number."""
        told = hashlib.sha256(repr((sorted(self.calendar_of_venue.items()), list(self.calendars))).encode())
        for array in (self.table, self.bounds):
            told.update(np.ascontiguousarray(array, "<i8").tobytes())
        return told.hexdigest()

    def calendar_number(self, venue: str) -> int:
        """Line of `bounds` that the venue keeps to."""
        name = self.calendar_of_venue.get(venue)
        return 0 if name is None else 1 + list(self.calendars).index(name)


@njit(cache=True)
def session_at(calendar, ts, table, bounds):  # type: ignore[no-untyped-def]
    """(start, open, close, start of the next) of the session that `ts` falls into; UTC days before and after the table."""
    begin, end = bounds[calendar]
    if begin < end and ts >= table[0, begin]:
        k = begin + np.searchsorted(table[0, begin:end], ts, side="right") - 1
        if k + 1 < end:
            return table[0, k], table[1, k], table[2, k], table[0, k + 1]
    start = ts // DAY_NS * DAY_NS
    return start, start, start + DAY_NS, start + DAY_NS
