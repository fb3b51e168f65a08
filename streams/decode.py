"""From the bytes of one poll to a stretch of the log; what is no event becomes a dead letter with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from processors.columns import RAW_KEPT, LogStretch
from schemas.errors import SchemaError
from schemas.events import Event
from schemas.rows import DeadLetter
from schemas.topics import EVENTS

LARGEST: Final = 65_536
"""Bytes; our largest event is a few hundred."""
CONFLUENT_MAGIC: Final = 0
Reason = Literal["undecodable", "unknown_type", "invalid_value", "too_large", "not_a_message"]


@dataclass(frozen=True, slots=True)
class Poll:
    """Consecutive records of one partition as the broker gave them; `ts_broker` in milliseconds."""

    partition: int
    values: Sequence[bytes | None]
    offsets: Sequence[int]
    ts_broker: Sequence[int]


def decode(poll: Poll) -> LogStretch:
    """Events in order, and dead letters for everything else."""
    if None not in poll.values and max(map(len, poll.values), default=0) <= LARGEST:  # type: ignore[arg-type]
        try:
            return _stretch(poll, EVENTS.decode_all(poll.values), range(len(poll.values)), [], [])  # type: ignore[arg-type]
        except SchemaError:
            pass  # at least one is no event: one by one, then
    return _one_by_one(poll)


def _one_by_one(poll: Poll) -> LogStretch:
    events: list[Event] = []
    at: list[int] = []
    letters: list[DeadLetter] = []
    letters_at: list[int] = []
    for i, value in enumerate(poll.values):
        found = _event(value)
        if isinstance(found, tuple):
            letters.append(_letter(poll, i, *found))
            letters_at.append(i)
        else:
            events.append(found)
            at.append(i)
    return _stretch(poll, events, at, letters, letters_at)


def _event(value: bytes | None) -> Event | tuple[Reason, str]:
    if value is None:
        return "not_a_message", "expected an event, found a record without a value"
    if len(value) > LARGEST:
        return "too_large", f"expected at most {LARGEST} bytes, found {len(value)}"
    try:
        event: Event = EVENTS.decode(value)
    except SchemaError as error:
        return _reason(value, str(error))
    return event


def _reason(value: bytes, said: str) -> tuple[Reason, str]:
    if said.endswith("`$.type`") or "missing required field `type`" in said:
        return "unknown_type", said
    if value[:1] == bytes([CONFLUENT_MAGIC]):
        return "undecodable", "starts with the magic byte of a schema registry; this topic carries plain JSON"
    if "malformed" in said or "truncated" in said or "utf-8" in said.lower() or "recursion" in said.lower():
        return "undecodable", said
    return "invalid_value", said


def _letter(poll: Poll, i: int, reason: Reason, said: str) -> DeadLetter:
    return DeadLetter(
        source=EVENTS.name, partition=poll.partition, offset=poll.offsets[i], reason=reason, detail=said[:1000],
        ts_ingest=max(poll.ts_broker[i], 0) * 1_000_000, raw=(poll.values[i] or b"")[:RAW_KEPT],
    )  # fmt: skip


def _stretch(
    poll: Poll, events: Sequence[Event], at: Sequence[int], letters: Sequence[DeadLetter], letters_at: Sequence[int]
) -> LogStretch:
    offsets, broker = np.array(poll.offsets, np.int64), np.array(poll.ts_broker, np.int64)
    whole = len(at) == len(poll.values)
    return LogStretch(
        events=events,
        raw=poll.values if whole else [poll.values[i] for i in at],  # type: ignore[misc, arg-type]
        offsets=offsets if whole else offsets[list(at)],
        ts_broker=broker if whole else broker[list(at)],
        rejected=letters,
        rejected_broker=broker[list(letters_at)],
    )
