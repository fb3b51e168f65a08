"""Recordings folded in this process, without a broker, into the matured predictions that models are judged by.

The same `Shard` as live; the records stand in the order of their event time, with the heartbeats that a feed would have sent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from models.dataset import Dataset
from processors.columns import LogStretch
from processors.features import FEATURE_NAMES
from processors.labels import Matured
from processors.ledger import DOORS
from processors.sessions import Sessions, session_at
from processors.shard import Shard
from schemas.errors import InputError
from schemas.events import Event
from schemas.rows import DeadLetter
from streams.recordings.recording import Recording
from streams.recordings.timeline import merged, with_heartbeats

BLOCK: Final = 65_536
TAIL_S: Final = 1
Progress = Callable[[int, int], None]
"""(bytes read, bytes in all)."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What matured, sorted by time of prediction; where the records went, and how many rows of the files could not be read."""

    dataset: Dataset
    doors: Mapping[str, int]
    """Records by `processors.ledger.DOORS`."""
    unread: int


def fold_recordings(recordings: Sequence[Recording], shard: Shard, progress: Progress) -> Recorded:
    """Fold all recordings through `shard`, which must be fresh. Raises: `InputError` where nothing matures."""
    total, records, unread = sum(each.size for each in recordings), 0, 0
    matured: list[Matured] = []
    counts: Sequence[int] = ()
    for events, letters in _blocks(recordings):
        output = shard.advance(_stretch(events, records))
        matured.append(output.matured)
        counts = output.counts
        records, unread = records + len(events), unread + letters
        progress(sum(each.position for each in recordings), total)
    if not any(map(len, matured)):
        raise InputError("no prediction matured in these recordings: they are shorter than the horizon")
    return Recorded(_dataset(matured, shard), dict(zip(DOORS, counts, strict=True)), unread)


def regular_hours(dataset: Dataset, sessions: Sessions, venue: str) -> Dataset:
    """Only predictions made and come true while the venue's regular trading was open."""
    calendar = sessions.calendar_number(venue)
    bounds = np.array([session_at(calendar, ts, sessions.table, sessions.bounds)[1:3] for ts in dataset.ts.tolist()])
    bounds = bounds.reshape(-1, 2)
    return dataset.taken((dataset.ts >= bounds[:, 0]) & (dataset.ts + dataset.horizon_ns <= bounds[:, 1]))


def _blocks(recordings: Sequence[Recording]) -> Iterator[tuple[list[Event], int]]:
    """Events stamped as if they had arrived at once, and how many bad rows were among them."""
    events: list[Event] = []
    letters = 0
    for _, said in with_heartbeats(merged(recordings), TAIL_S):
        if isinstance(said, DeadLetter):
            letters += 1
            continue
        events.append(msgspec.structs.replace(said, ts_ingest=said.ts_event))
        if len(events) == BLOCK:
            yield events, letters
            events, letters = [], 0
    yield events, letters


def _stretch(events: Sequence[Event], first: int) -> LogStretch:
    nothing = np.empty(0, np.int64)
    broker = np.fromiter((event.ts_ingest // 1_000_000 for event in events), np.int64, len(events))
    return LogStretch(
        events=events, raw=[b""] * len(events), offsets=np.arange(first, first + len(events)), ts_broker=broker,
        rejected=[], rejected_broker=nothing,
    )  # fmt: skip


def _dataset(matured: Sequence[Matured], shard: Shard) -> Dataset:
    ts = np.concatenate([each.stamps[:, 0] for each in matured])
    order = np.lexsort((np.concatenate([each.stamps[:, 1] for each in matured]), ts))
    price = np.concatenate([each.price for each in matured])[order]
    return Dataset(
        features=np.concatenate([each.features for each in matured])[order],
        label=np.concatenate([each.label for each in matured])[order],
        returns=np.log(price[:, 1] / price[:, 0]),
        ts=ts[order],
        symbol=np.concatenate([each.row for each in matured])[order].astype(np.int64),
        symbols=tuple(shard.symbols.names),
        names=FEATURE_NAMES,
        horizon_ns=shard.rules.label.horizon_ns,
    )
