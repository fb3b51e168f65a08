"""Recordings onto the events log, with their gaps, faster, or as fast as the log takes them.

What is written and in which order depends on the recordings and options alone, never on the speed: only `ts_ingest`
differs.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from schemas.errors import InputError
from schemas.events import Event, Heartbeat, Quote, Trade
from schemas.rows import DeadLetter
from streams.ports import Clock, EventWriter
from streams.recordings.column_map import ColumnMap
from streams.recordings.detect import files_in, open_recording
from streams.recordings.labels import Labels
from streams.recordings.recording import Recording
from streams.recordings.timeline import Laps, Said, merged, with_heartbeats
from streams.recordings.zones import NS

BATCH: Final = 4_096
AS_FAST_AS_POSSIBLE: Final = math.inf
LOOK_S: Final = 1.0
"""How often a wait is interrupted to see whether it is time to stop."""
SOON_NS: Final = 1_000_000
"""What is due within a millisecond is due now: a shorter sleep costs more than it keeps."""
NAMES: Final[Mapping[type, str]] = {Trade: "trade", Quote: "quote", Heartbeat: "heartbeat"}


@dataclass(frozen=True, kw_only=True)
class PlayOptions:
    """What to play, and how fast."""

    speed: float = AS_FAST_AS_POSSIBLE
    """1 keeps the recorded gaps, 10 plays them ten times faster."""
    symbols: frozenset[str] = frozenset()
    """Only these; all where empty."""
    loop: bool = False
    """Begin again at the end, whole weeks later, until the shifted times reach the present."""
    limit: int | None = None
    """Stop after so many trades and quotes."""
    tail_s: int = 1
    """Seconds of heartbeats after the last event."""
    labels: Labels = field(default_factory=Labels)
    columns: ColumnMap | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a play has come."""

    events: int
    """Written, heartbeats too."""
    dead_letters: int
    bytes_read: int
    """Of the current lap."""
    bytes_total: int
    lap: int
    """From 1."""
    ts_event: int
    """Of the last event written, ns; 0 before the first."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a play has written."""

    events: Mapping[str, int]
    """By type: trade, quote, heartbeat."""
    dead_letters: int
    first_ns: int | None
    """Event time of the first trade or quote; none where there was none."""
    last_ns: int | None
    laps: int


def play(
    paths: Sequence[Path], writer: EventWriter, clock: Clock, options: PlayOptions | None = None,
    progress: Callable[[Progress], None] = lambda _: None, *, stop: Callable[[], bool] = lambda: False,
) -> Played:  # fmt: skip
    """Write the events of all recordings to the log, merged by event time, and their bad rows to the dead letters.

    `progress` is called after every batch. Returns once the log has acknowledged everything; with `stop`, which is asked
    after every batch and while waiting, everything that was due until then.
    Raises: `InputError` for a bad option and for a file that cannot be played, before anything is written; and in the
    middle where a file breaks off, once everything before that is acknowledged. `DeliveryError` from the log.
    """
    options = options or PlayOptions()
    _check(options)
    symbols = frozenset(map(str.upper, options.symbols))
    recordings = _wanted([open_recording(file, options.labels, options.columns) for file in files_in(paths)], symbols)
    laps = Laps(lambda: merged(recordings, symbols))
    outlet = _Outlet(writer, clock, recordings, laps, progress)
    try:
        _pace(_limited(_laps(laps, options, clock), options), outlet, clock, options.speed, stop)
    except InputError:
        outlet.write()
        writer.flush()
        raise
    outlet.write()
    writer.flush()
    return outlet.played()


def _check(options: PlayOptions) -> None:
    if not options.speed > 0:
        raise InputError(f"speed: expected 1, 10 or any number above 0, or max, found {options.speed}")
    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit: expected at least 1 event, found {options.limit}")


def _wanted(recordings: Sequence[Recording], wanted: frozenset[str]) -> Sequence[Recording]:
    """Without those that can hold none of the wanted symbols."""
    if not recordings:
        raise InputError("expected at least one file to play, found none")
    if not wanted:
        return recordings
    if len(known := [it.symbols for it in recordings if it.symbols is not None]) == len(recordings):
        held = {symbol.upper() for symbols in known for symbol in symbols}
        if missing := wanted - held:
            raise InputError(
                f"symbols: none of {', '.join(sorted(missing))} is in the recordings; they hold {', '.join(sorted(held))}"
            )
    return [it for it in recordings if it.symbols is None or wanted & {symbol.upper() for symbol in it.symbols}]


def _laps(laps: Laps, options: PlayOptions, clock: Clock) -> Iterator[tuple[int, Said]]:
    def items() -> Iterator[tuple[int, Trade | Quote | DeadLetter]]:
        yield from laps.run()
        while options.loop and laps.first is not None and laps.last + laps.lap * laps.shift_ns < clock.now_ns():
            yield from laps.run()

    return with_heartbeats(items(), options.tail_s)


def _limited(timeline: Iterator[tuple[int, Said]], options: PlayOptions) -> Iterator[tuple[int, Said]]:
    if options.limit is None:
        yield from timeline
        return
    left = options.limit
    for at, item in timeline:
        yield at, item
        if isinstance(item, Trade | Quote):
            left -= 1
            if left == 0:
                return


def _pace(
    timeline: Iterator[tuple[int, Said]], outlet: "_Outlet", clock: Clock, speed: float, stop: Callable[[], bool]
) -> None:
    """Hand everything to the outlet when it is due: `speed` nanoseconds of the timeline pass in one of the clock."""
    begun: int | None = None
    first, due = 0, math.inf if speed == math.inf else -1.0
    for at, item in timeline:
        if begun is None and not isinstance(item, DeadLetter):
            begun, first = clock.now_ns(), at
        if begun is not None and at - first > due:
            while (wait := (at - first) / speed - (clock.now_ns() - begun)) > SOON_NS:
                outlet.write()
                if stop():
                    return
                clock.sleep(min(wait / NS, LOOK_S))
            due = (clock.now_ns() - begun + SOON_NS) * speed
        if outlet.add(item) and stop():
            return


class _Outlet:
    """Gathers what is due and writes it in batches, stamped with the time of writing."""

    def __init__(
        self, writer: EventWriter, clock: Clock, recordings: Sequence[Recording], laps: Laps,
        progress: Callable[[Progress], None],
    ) -> None:  # fmt: skip
        self._writer, self._clock, self._recordings, self._laps = writer, clock, recordings, laps
        self._progress = progress
        self._total = sum(it.size for it in recordings)
        self._events: list[Trade | Quote | Heartbeat] = []
        self._letters: list[DeadLetter] = []
        self._counts: Counter[type] = Counter()
        self._dead = 0
        self._first: int | None = None
        self._last: int | None = None
        self._ts_event = 0

    def add(self, item: Said) -> bool:
        """Take what is due now; writes when a batch is full, and says so."""
        if isinstance(item, DeadLetter):
            self._letters.append(item)
        else:
            self._events.append(item)
        full = len(self._events) >= BATCH or len(self._letters) >= BATCH
        if full:
            self.write()
        return full

    def write(self) -> None:
        """Write what has been gathered."""
        events, self._events = self._events, []
        letters, self._letters = self._letters, []
        if not events and not letters:
            return
        now = self._clock.now_ns()
        if letters:
            self._writer.reject([replace(letter, ts_ingest=now) for letter in letters])
        if events:
            stamped: list[Event] = [replace(event, ts_ingest=now) for event in events]
            self._writer.write(stamped)
        self._count(events, letters)

    def _count(self, events: Sequence[Trade | Quote | Heartbeat], letters: Sequence[DeadLetter]) -> None:
        self._counts.update(map(type, events))
        self._dead += len(letters)
        market = [event.ts_event for event in events if not isinstance(event, Heartbeat)]
        if market:
            self._first = market[0] if self._first is None else self._first
            self._last = market[-1]
        if events:
            self._ts_event = events[-1].ts_event
        read = sum(it.position for it in self._recordings)
        self._progress(
            Progress(self._counts.total(), self._dead, read, self._total, max(self._laps.lap, 1), self._ts_event)
        )

    def played(self) -> Played:
        """The final counts."""
        by_name = {name: self._counts[type_] for type_, name in NAMES.items()}
        return Played(by_name, self._dead, self._first, self._last, self._laps.lap)
