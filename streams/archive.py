"""The log from its rows: what is stored of a stretch, back as the events that were folded.

Every record of the log has a row in one of these tables, so the fold can be repeated from them bit for bit.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_args

import numpy as np

from processors.columns import LogStretch
from schemas.events import Cancel, Correction, Event, NewsSignal, Quote, Trade
from schemas.rows import DeadLetter
from schemas.topics import EVENTS
from streams.decode import Reason

Columns: TypeAlias = Mapping[str, Sequence[Any]]
_Kept: TypeAlias = tuple[Event, int, bytes]
"""The event, the broker's milliseconds, and the bytes it came as or would come as."""
_IDENTITY: Final = ("symbol", "venue", "seq", "ts_event", "ts_ingest")
_WHERE: Final = ("src_offset", "ts_broker")
_FIELDS: Final[Mapping[str, Sequence[str]]] = {
    "trades": (*_IDENTITY, "price", "size", "side", "trade_id", "conditions", "in_bars"),
    "quotes": (*_IDENTITY, "bid", "bid_size", "ask", "ask_size"),
    "news": (*_IDENTITY, "sentiment", "item_id", "words"),
    "corrections": (*_IDENTITY, "kind", "refers_seq", "price", "size"),
    "marks": ("raw",),
    "dead_letters": ("source", "reason", "detail", "ts_ingest", "raw"),
}
ARCHIVE: Final[Mapping[str, Sequence[str]]] = {table: (*names, *_WHERE) for table, names in _FIELDS.items()}
"""Tables that hold the log together, and the columns that are read of each."""
_UNREADABLE: Final = frozenset(get_args(Reason))
"""Reasons that the fold never saw; for another one it is given the event, and refuses it again."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A stretch of the log as its rows tell it, and the offsets of which there is no row, as [first, next) pairs."""

    stretch: LogStretch
    missing: Sequence[tuple[int, int]]


def restored(partition: int, first: int, end: int, found: Mapping[str, Columns]) -> Archived:
    """The records `first` to `end` (not included) of a partition; `found`: table to columns, in any order.

    Where changed rules gave one record two rows, the one that holds the whole event counts.
    """
    events: dict[int, _Kept] = {}
    letters: dict[int, tuple[DeadLetter, int]] = {}
    for table, names in ARCHIVE.items():
        columns = found.get(table)
        if columns is None:
            continue
        for *values, offset, ts_broker in zip(*(columns[name] for name in names), strict=True):
            if offset in events or offset in letters:
                continue
            made = _MAKERS[table](partition, offset, *values)
            if isinstance(made, DeadLetter):
                letters[offset] = (made, ts_broker)
            else:
                events[offset] = (made, ts_broker, _bytes(values[-1]) if names[-3] == "raw" else EVENTS.encode(made))
    return Archived(_stretch(events, letters), _missing(first, end, events.keys() | letters.keys()))


def _stretch(events: Mapping[int, _Kept], letters: Mapping[int, tuple[DeadLetter, int]]) -> LogStretch:
    offsets, refused = sorted(events), sorted(letters)
    return LogStretch(
        events=[events[offset][0] for offset in offsets],
        raw=[events[offset][2] for offset in offsets],
        offsets=np.array(offsets, np.int64),
        ts_broker=np.array([events[offset][1] for offset in offsets], np.int64),
        rejected=[letters[offset][0] for offset in refused],
        rejected_broker=np.array([letters[offset][1] for offset in refused], np.int64),
    )


def _missing(first: int, end: int, there: Collection[int]) -> list[tuple[int, int]]:
    """Runs of offsets that are not there; takes no memory for what is missing, which may be a log's whole past."""
    found = np.concatenate([[first - 1], np.sort(np.fromiter(there, np.int64, len(there))), [end]])
    return [(int(found[i]) + 1, int(found[i + 1])) for i in np.flatnonzero(np.diff(found) > 1)]


def _trade(_partition: int, _offset: int, *values: Any) -> Trade:
    symbol, venue, seq, ts_event, ts_ingest, price, size, side, trade_id, conditions, in_bars = values
    return Trade(
        symbol=symbol, venue=venue, seq=seq, ts_event=ts_event, ts_ingest=ts_ingest, price=price, size=size, side=side,
        trade_id=trade_id, conditions=conditions, in_bars=in_bars,
    )  # fmt: skip


def _quote(_partition: int, _offset: int, *values: Any) -> Quote:
    symbol, venue, seq, ts_event, ts_ingest, bid, bid_size, ask, ask_size = values
    return Quote(
        symbol=symbol, venue=venue, seq=seq, ts_event=ts_event, ts_ingest=ts_ingest, bid=bid, bid_size=bid_size, ask=ask,
        ask_size=ask_size,
    )  # fmt: skip


def _news(_partition: int, _offset: int, *values: Any) -> NewsSignal:
    symbol, venue, seq, ts_event, ts_ingest, sentiment, item_id, words = values
    return NewsSignal(
        symbol=symbol, venue=venue, seq=seq, ts_event=ts_event, ts_ingest=ts_ingest, sentiment=sentiment,
        item_id=item_id, words=words,
    )  # fmt: skip


def _correction(_partition: int, _offset: int, *values: Any) -> Correction | Cancel:
    symbol, venue, seq, ts_event, ts_ingest, kind, refers_seq, price, size = values
    identity = {"symbol": symbol, "venue": venue, "seq": seq, "ts_event": ts_event, "ts_ingest": ts_ingest}
    if kind == "cancel":
        return Cancel(**identity, refers_seq=refers_seq)
    return Correction(**identity, refers_seq=refers_seq, price=price, size=size)


def _mark(_partition: int, _offset: int, raw: str | bytes) -> Event:
    event: Event = EVENTS.decode(_bytes(raw))
    return event


def _letter(partition: int, offset: int, *values: Any) -> DeadLetter | Event:
    source, reason, detail, ts_ingest, raw = values
    if reason not in _UNREADABLE:
        return _mark(partition, offset, raw)
    return DeadLetter(
        source=source, partition=partition, offset=offset, reason=reason, detail=detail, ts_ingest=ts_ingest,
        raw=_bytes(raw),
    )  # fmt: skip


def _bytes(raw: str | bytes) -> bytes:
    """ClickHouse's text is bytes that may be no UTF-8."""
    return raw.encode() if isinstance(raw, str) else raw


_MAKERS: Final[Mapping[str, Callable[..., Event | DeadLetter]]] = {
    "trades": _trade, "quotes": _quote, "news": _news, "corrections": _correction, "marks": _mark,
    "dead_letters": _letter,
}  # fmt: skip
