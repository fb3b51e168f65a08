"""From decoded events to columns: the one place where Python objects become arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from processors.batch import NEWS, PRINT, QUOTE, TRADE, Codes, Column, Flags, Integers, Rows
from schemas.events import (
    Cancel,
    Control,
    Correction,
    Event,
    Heartbeat,
    NewsSignal,
    Quote,
    SessionMark,
    Trade,
)
from schemas.rows import DeadLetter
from schemas.topics import EVENTS

CORRECT: Final = 4
CANCEL: Final = 5
HEARTBEAT: Final = 6
SESSION: Final = 7
CONTROL: Final = 8
CODE_OF: Final[dict[type, int]] = {
    Trade: TRADE, Quote: QUOTE, NewsSignal: NEWS, Correction: CORRECT, Cancel: CANCEL, Heartbeat: HEARTBEAT,
    SessionMark: SESSION, Control: CONTROL,
}  # fmt: skip
SIDE: Final = {"buy": 1, "sell": -1, "unknown": 0}
CLOSES: Final = 2
MARK: Final = {"halt": 1, "close": CLOSES, "resume": -1, "open": -1}
"""What a session mark says: positive where trading stops."""


@dataclass(frozen=True, slots=True)
class LogStretch:
    """Consecutive records of one partition: what could be decoded, in order, and what could not.

    events, raw        n decoded events and the bytes they came as
    offsets            int64 [n]
    ts_broker          int64 [n], milliseconds since the Unix epoch, the broker's
    rejected           records that could not be decoded
    rejected_broker    int64 [len(rejected)], the broker's milliseconds of each
    decoded            the events as columns, where the bytes were decoded into columns at once
    """

    events: Sequence[Event]
    raw: Sequence[bytes]
    offsets: Integers
    ts_broker: Integers
    rejected: Sequence[DeadLetter]
    rejected_broker: Integers
    decoded: "EventColumns | None" = None

    @property
    def columns(self) -> "EventColumns":
        """The events as columns."""
        if self.decoded is None:
            return columns(self.events)
        assert len(self.decoded.kind) == len(self.events), "columns of other events"
        return self.decoded

    def chosen(self, events: Flags, refused: Sequence[DeadLetter]) -> "LogStretch":
        """The marked events; the others, as `refused` tells, join the rejected, in log order."""
        at = np.flatnonzero(events).tolist()
        letters = [*self.rejected, *refused]
        broker = np.concatenate([self.rejected_broker, self.ts_broker[~events]])
        order = np.argsort([letter.offset for letter in letters], kind="stable")
        return LogStretch(
            events=_picked(self.events, at), raw=[self.raw[i] for i in at], offsets=self.offsets[events],
            ts_broker=self.ts_broker[events], rejected=[letters[i] for i in order.tolist()],
            rejected_broker=broker[order], decoded=self.decoded and self.decoded.chosen(events),
        )  # fmt: skip


class Undecoded(Sequence[Event]):
    """Events that are known to be good, each decoded when somebody asks for it; `made`: those that are there already."""

    def __init__(self, raw: Sequence[bytes], made: list[Event | None]) -> None:
        self._raw, self._made = raw, made

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> "Undecoded": ...
    def __getitem__(self, at: int | slice) -> "Event | Undecoded":
        if isinstance(at, slice):
            return Undecoded(self._raw[at], self._made[at])
        event = self._made[at]
        if event is None:
            event = self._made[at] = EVENTS.decode(self._raw[at])
        return event

    def picked(self, at: Sequence[int]) -> "Undecoded":
        """Those at these positions."""
        return Undecoded([self._raw[i] for i in at], [self._made[i] for i in at])


def _picked(events: Sequence[Event], at: Sequence[int]) -> Sequence[Event]:
    return events.picked(at) if isinstance(events, Undecoded) else [events[i] for i in at]


@dataclass(frozen=True, slots=True)
class Names:
    """What n events name: `words[code]`; a word may be there twice."""

    code: Rows
    words: Sequence[str]

    def __getitem__(self, rows: Any) -> "Names":
        return Names(self.code[rows], self.words)

    def word(self, at: int) -> str:
        """What one event names."""
        return self.words[int(self.code[at])]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """All decoded events of a stretch as arrays of length n; a value that an event lacks is 0, -1 or NaN.

    kind     TRADE .. CONTROL         row      of the symbol in state arrays; -1 without symbol
    venue    number of the venue      sequence numbers and times are int64; times in ns
    symbols, venues   what the events name, "" for none
    """

    kind: Codes
    row: Rows
    venue: Rows
    seq: Integers
    ts_event: Integers
    ts_ingest: Integers
    price: Column
    size: Column
    side: Codes
    bid: Column
    bid_size: Column
    ask: Column
    ask_size: Column
    sentiment: Column
    up: Flags
    """Of a heartbeat: the feed is up."""
    mark: Codes
    """Of a session mark: `MARK`."""
    symbols: Names
    venues: Names

    def chosen(self, rows: Flags | slice) -> "EventColumns":
        """The marked rows, or those of a slice."""
        return EventColumns(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def numbered(self, row: Rows, venue: Rows) -> "EventColumns":
        """With rows of symbols and numbers of venues."""
        return replace(self, row=row, venue=venue)

    def named(self, symbols: Names, venues: Names) -> "EventColumns":
        """With these names."""
        return replace(self, symbols=symbols, venues=venues)

    def put(self, at: Integers, others: "EventColumns") -> "EventColumns":
        """Overwrite the rows `at` by other ones, in place; the names are new."""
        for field in fields(self):
            if field.name not in ("symbols", "venues"):
                getattr(self, field.name)[at] = getattr(others, field.name)
        return self.named(_put(self.symbols, at, others.symbols), _put(self.venues, at, others.venues))


def _put(names: Names, at: Integers, others: Names) -> Names:
    code = names.code.copy()
    code[at] = others.code + len(names.words)
    return Names(code, [*names.words, *others.words])


def no_values(n: int) -> EventColumns:
    """n rows in which every value lacks."""
    price, size, bid, bid_size, ask, ask_size, sentiment = np.full((7, n), np.nan)
    seq, ts_event, ts_ingest = np.zeros((3, n), np.int64)
    kind, side, mark = np.zeros((3, n), np.int8)
    row, venue = np.full((2, n), -1, np.int32)
    nobody = Names(np.zeros(n, np.int32), ("",))
    return EventColumns(
        kind=kind, row=row, venue=venue, seq=seq, ts_event=ts_event, ts_ingest=ts_ingest, price=price, size=size, side=side,
        bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size, sentiment=sentiment, up=np.ones(n, np.bool_), mark=mark,
        symbols=nobody, venues=nobody,
    )  # fmt: skip


def columns(events: Sequence[Event]) -> EventColumns:
    """Take the numbers out of the events; rows and venues are -1 until `numbered`."""
    n = len(events)
    made = no_values(n)
    kind = made.kind
    kind[:] = np.fromiter(map(CODE_OF.__getitem__, map(type, events)), np.int8, n)
    for code, names in _FIELDS.items():
        at = np.flatnonzero(kind == code)
        if len(at) == 0:
            continue
        chosen = [events[i] for i in at.tolist()] if len(at) < n else events
        for name in names:
            target: NDArray[Any] = getattr(made, name)
            target[at] = np.fromiter(map(attrgetter(name), chosen), target.dtype, len(chosen))
        if code == TRADE:
            made.side[at] = [SIDE[event.side] for event in chosen]  # type: ignore[union-attr]
            kind[at] = [TRADE if event.in_bars else PRINT for event in chosen]  # type: ignore[union-attr]
        elif code == HEARTBEAT:
            made.up[at] = [event.state == "up" for event in chosen]  # type: ignore[union-attr]
        elif code == SESSION:
            made.mark[at] = [MARK[event.state] for event in chosen]  # type: ignore[union-attr]
    made.ts_event[:] = np.fromiter(map(attrgetter("ts_event"), events), np.int64, n)
    made.ts_ingest[:] = np.fromiter(map(attrgetter("ts_ingest"), events), np.int64, n)
    return made.named(_names("symbol", events), _names("venue", events))


def _names(field: str, events: Sequence[Event]) -> Names:
    said = list(map(attrgetter(field), events))
    codes = {word: code for code, word in enumerate(dict.fromkeys(said))}
    return Names(np.fromiter(map(codes.__getitem__, said), np.int32, len(said)), list(codes))


_FIELDS: Final[dict[int, tuple[str, ...]]] = {
    TRADE: ("seq", "price", "size"),
    QUOTE: ("seq", "bid", "bid_size", "ask", "ask_size"),
    NEWS: ("seq", "sentiment"),
    CORRECT: ("seq", "price", "size"),
    CANCEL: ("seq",),
    HEARTBEAT: ("seq",),
    SESSION: ("seq",),
}


SMALLEST_PRICE: Final = 1e-30
SMALLEST_SIZE: Final = 1e-30
"""The return from a price below it to an ordinary one is no finite number, and would stay in every mean of returns."""
RAW_KEPT: Final = 65_536
_DETAIL: Final = {
    "invalid_value": f"a price or a size below {SMALLEST_PRICE:g}, of which products and returns cannot be computed",
    "crossed_quote": "bid {0.bid:g} is above ask {0.ask:g}",
    "future": "stamped {1:.3f} s ahead of its arrival; the venue's clock or ours is wrong",
    "symbol_limit": "{0.symbol} would be one symbol more than a partition may hold; raise TICKWIRE_FOLD__MAX_SYMBOLS",
    "venue_conflict": "{0.symbol} is traded by another venue already; name symbols apart, for example {0.symbol}.{0.venue}",
}


def dead_letter(stretch: LogStretch, at: int, reason: Any, partition: int) -> DeadLetter:
    """Why event `at` of the stretch was refused, with its bytes."""
    event = stretch.events[at]
    ahead_s = (event.ts_event - event.ts_ingest) / 1e9
    return DeadLetter(
        source=EVENTS.name, partition=partition, offset=int(stretch.offsets[at]), reason=reason,
        detail=_DETAIL[reason].format(event, ahead_s), ts_ingest=event.ts_ingest, raw=bytes(stretch.raw[at][:RAW_KEPT]),
    )  # fmt: skip
