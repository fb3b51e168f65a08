"""Several recordings as one stream in event time, with the heartbeats that a live feed would have sent."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, TypeAlias

from msgspec.structs import replace

from schemas.events import Heartbeat, Quote, Trade
from schemas.rows import DeadLetter
from streams.recordings.recording import Recorded, Recording
from streams.recordings.zones import NS

Said: TypeAlias = Trade | Quote | Heartbeat | DeadLetter
Timed: TypeAlias = tuple[int, Recorded]
LONGEST_GAP_S: Final = 3_600
"""A longer silence (a night, a weekend, a loop's seam) is played as one of this length."""
WEEK_NS: Final = 7 * 86_400 * NS


def merged(recordings: Sequence[Recording], symbols: frozenset[str] = frozenset()) -> Iterator[Timed]:
    """Items of all recordings with the time at which each is due, never falling; a recording is opened when its first is.

    Equal times keep the order of the recordings. An event that steps back within its file keeps its place there: it
    is due when the newest before it was. Numbers that come from stamps rise over all recordings of a symbol. `symbols`:
    only these, in capitals; all where empty.
    """
    given: dict[tuple[type, str, str], int] = {}
    for at, item, by_time in heapq.merge(*(_timed(each, symbols) for each in recordings), key=itemgetter(0)):
        if item is not None:
            yield at, _numbered(item, given) if by_time else item


def _timed(recording: Recording, symbols: frozenset[str]) -> Iterator[tuple[int, Recorded | None, bool]]:
    newest, by_time = recording.first_ns, recording.numbered_by_time
    yield newest, None, by_time  # what is behind this is read when it is due
    for item in recording.items():
        if not isinstance(item, DeadLetter):
            if symbols and item.symbol.upper() not in symbols:
                continue
            newest = max(newest, item.ts_event)
        yield newest, item, by_time


def _numbered(item: Recorded, given: dict[tuple[type, str, str], int]) -> Recorded:
    if isinstance(item, DeadLetter):
        return item
    key = (type(item), item.venue, item.symbol)
    seq = given[key] = max(item.seq, given.get(key, -1) + 1)
    return item if seq == item.seq else replace(item, seq=seq)


@dataclass(slots=True)
class Laps:
    """The same recordings again and again, each lap whole weeks later and with numbers above those of the lap before.

    Weeks, so that a Monday stays a Monday and its exchange's hours stay what they were.
    """

    start: Callable[[], Iterator[Timed]]
    lap: int = 0
    first: int | None = None
    last: int = 0
    numbers: dict[tuple[type, str, str], list[int]] = field(default_factory=dict)
    """(type, venue, symbol) to lowest and highest `seq` of the first lap."""

    @property
    def shift_ns(self) -> int:
        """What a lap adds to the time of the lap before."""
        return ((self.last - (self.first or 0)) // WEEK_NS + 1) * WEEK_NS

    def run(self) -> Iterator[Timed]:
        """One lap more; only the first gives the dead letters."""
        self.lap += 1
        return self._first_lap() if self.lap == 1 else self._later_lap(self.lap - 1)

    def _first_lap(self) -> Iterator[Timed]:
        for at, item in self.start():
            if not isinstance(item, DeadLetter):
                self.first = at if self.first is None else self.first
                self.last = at
                span = self.numbers.setdefault((type(item), item.venue, item.symbol), [item.seq, item.seq])
                span[0], span[1] = min(span[0], item.seq), max(span[1], item.seq)
            yield at, item

    def _later_lap(self, laps: int) -> Iterator[Timed]:
        shift = laps * self.shift_ns
        for at, item in self.start():
            if isinstance(item, DeadLetter):
                continue
            low, high = self.numbers[type(item), item.venue, item.symbol]
            yield at + shift, replace(item, ts_event=item.ts_event + shift, seq=item.seq + laps * (high - low + 1))


def with_heartbeats(items: Iterable[Timed], tail_s: int) -> Iterator[tuple[int, Said]]:
    """Add one heartbeat a venue for every whole second of event time, from the venue's first event on.

    A heartbeat says that everything up to its second has been said, so it comes before the first event after it; its
    `seq` is the second. A silence of over an hour gets the heartbeats of its first hour and then its last. Yields the
    time on the playing clock, on which such a silence lasts an hour, and `tail_s` seconds more at the end.
    """
    venues: list[str] = []
    second, cut, at = 0, 0, 0
    for at, item in items:
        if isinstance(item, DeadLetter):
            yield at - cut, item
            continue
        if venues and at > (second + 1) * NS:
            last = (at - 1) // NS
            for beat in range(second + 1, min(last, second + LONGEST_GAP_S) + 1):
                yield from _beats(beat, cut, venues)
            if last > second + LONGEST_GAP_S:
                cut += (last - second - LONGEST_GAP_S) * NS
                yield from _beats(last, cut, venues)
            second = last
        if item.venue not in venues:
            venues = sorted((*venues, item.venue))
            second = max(second, (at - 1) // NS)
        yield at - cut, item
    for beat in range(second + 1, second + 1 + tail_s if venues else 0):
        yield from _beats(beat, cut, venues)


def _beats(second: int, cut: int, venues: Sequence[str]) -> Iterator[tuple[int, Said]]:
    for venue in venues:
        yield second * NS - cut, Heartbeat(venue=venue, seq=second, ts_event=second * NS, ts_ingest=0)
