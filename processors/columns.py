"""From decoded events to columns: the one place where Python objects become arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

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

EVENTS_TOPIC: Final = "market.events.v1"
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
    """

    events: Sequence[Event]
    raw: Sequence[bytes]
    offsets: Integers
    ts_broker: Integers
    rejected: Sequence[DeadLetter]
    rejected_broker: Integers

    def chosen(self, events: Flags, refused: Sequence[DeadLetter]) -> "LogStretch":
        """The marked events; the others, as `refused` tells, join the rejected, in log order."""
        at = np.flatnonzero(events).tolist()
        letters = [*self.rejected, *refused]
        broker = np.concatenate([self.rejected_broker, self.ts_broker[~events]])
        order = np.argsort([letter.offset for letter in letters], kind="stable")
        return LogStretch(
            events=[self.events[i] for i in at], raw=[self.raw[i] for i in at], offsets=self.offsets[events],
            ts_broker=self.ts_broker[events], rejected=[letters[i] for i in order.tolist()],
            rejected_broker=broker[order],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class EventColumns:
    """All decoded events of a stretch as arrays of length n; a value that an event lacks is 0, -1 or NaN.

    kind     TRADE .. CONTROL         row      of the symbol in state arrays; -1 without symbol
    venue    number of the venue      sequence numbers and times are int64; times in ns
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

    def chosen(self, rows: Flags) -> "EventColumns":
        """The marked rows."""
        return EventColumns(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def numbered(self, row: Rows, venue: Rows) -> "EventColumns":
        """With rows of symbols and numbers of venues."""
        return replace(self, row=row, venue=venue)


def columns(events: Sequence[Event]) -> EventColumns:
    """Take the numbers out of the events; rows and venues are -1 until `numbered`."""
    n = len(events)
    kind = np.fromiter(map(CODE_OF.__getitem__, map(type, events)), np.int8, n)
    nan = np.full((7, n), np.nan)
    price, size, bid, bid_size, ask, ask_size, sentiment = nan
    seq, side, up = np.zeros(n, np.int64), np.zeros(n, np.int8), np.ones(n, np.bool_)
    mark = np.zeros(n, np.int8)
    for code, names in _FIELDS.items():
        at = np.flatnonzero(kind == code)
        if len(at) == 0:
            continue
        chosen = [events[i] for i in at.tolist()] if len(at) < n else events
        target: dict[str, NDArray[Any]] = {
            "price": price, "size": size, "bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size,
            "sentiment": sentiment, "seq": seq,
        }  # fmt: skip
        for name in names:
            target[name][at] = _taken(name, chosen, target[name].dtype)
        if code == TRADE:
            side[at] = [SIDE[event.side] for event in chosen]  # type: ignore[union-attr]
            kind[at] = [TRADE if event.in_bars else PRINT for event in chosen]  # type: ignore[union-attr]
        elif code == HEARTBEAT:
            up[at] = [event.state == "up" for event in chosen]  # type: ignore[union-attr]
        elif code == SESSION:
            mark[at] = [MARK[event.state] for event in chosen]  # type: ignore[union-attr]
    return EventColumns(
        kind=kind, row=np.full(n, -1, np.int32), venue=np.full(n, -1, np.int32), seq=seq,
        ts_event=_taken("ts_event", events, np.int64), ts_ingest=_taken("ts_ingest", events, np.int64),
        price=price, size=size, side=side, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size,
        sentiment=sentiment, up=up, mark=mark,
    )  # fmt: skip


def _taken(name: str, events: Sequence[Event], dtype: DTypeLike) -> NDArray[Any]:
    """One field of all events."""
    return np.fromiter(map(attrgetter(name), events), dtype, len(events))


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
"""The return from a price below it to an ordinary one is no finite number, and would stay in every mean of returns."""
RAW_KEPT: Final = 65_536
_DETAIL: Final = {
    "invalid_value": f"a price below {SMALLEST_PRICE:g}, from which no return can be computed",
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
        source=EVENTS_TOPIC, partition=partition, offset=int(stretch.offsets[at]), reason=reason,
        detail=_DETAIL[reason].format(event, ahead_s), ts_ingest=event.ts_ingest, raw=bytes(stretch.raw[at][:RAW_KEPT]),
    )  # fmt: skip
