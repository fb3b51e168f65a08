"""From the bytes of one poll to a stretch of the log; what is no event becomes a dead letter with its reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from processors.columns import RAW_KEPT, EventColumns, LogStretch, Undecoded, columns
from schemas.errors import SchemaError
from schemas.events import MAX_NS, Event
from schemas.rows import DeadLetter
from schemas.topics import EVENTS
from streams.plain import LEFT, all_left, plain

LARGEST: Final = 65_536
"""Bytes; our largest event is a few hundred."""
FEW: Final = 64
"""Fewer records are sooner decoded one by one than looked at together."""
CONFLUENT_MAGIC: Final = 0
MAX_MS: Final = MAX_NS // 1_000_000
"""A later stamp (microseconds, say) is a producer's mistake. None that can be believed is 0: the one before it counts."""
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
    found = plain(poll.values) if len(poll.values) >= FEW else all_left(len(poll.values))
    left = np.flatnonzero(found.kind == LEFT)
    told: list[Event | None] = [None] * len(poll.values)
    letters: dict[int, DeadLetter] = {}
    if len(left):
        for at, said in zip(left.tolist(), _said(poll, left.tolist()), strict=True):
            if isinstance(said, DeadLetter):
                letters[at] = said
            else:
                told[at] = said
        found = _with_others(found, told, [at for at in left.tolist() if at not in letters])
    return _stretch(poll, found, told, letters)


def _said(poll: Poll, at: Sequence[int]) -> Iterable[Event | DeadLetter]:
    """What the records at these positions say, or why they say nothing."""
    values = [poll.values[i] for i in at]
    if None not in values and max(map(len, values)) <= LARGEST:  # type: ignore[arg-type]
        try:
            return EVENTS.decode_all(values)  # type: ignore[arg-type]
        except SchemaError:
            pass  # at least one is no event: one by one, then
    return (_letter(poll, i, *found) if isinstance(found := _event(poll.values[i]), tuple) else found for i in at)


def _with_others(found: EventColumns, told: Sequence[Event | None], at: Sequence[int]) -> EventColumns:
    others = columns([told[i] for i in at])  # type: ignore[misc]
    return others if len(at) == len(told) else found.put(np.array(at, np.int64), others)


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
    at = poll.ts_broker[i]
    return DeadLetter(
        source=EVENTS.name, partition=poll.partition, offset=poll.offsets[i], reason=reason, detail=said[:1000],
        ts_ingest=at * 1_000_000 if 0 <= at <= MAX_MS else 0, raw=(poll.values[i] or b"")[:RAW_KEPT],
    )  # fmt: skip


def _stretch(
    poll: Poll, found: EventColumns, told: list[Event | None], letters: Mapping[int, DeadLetter]
) -> LogStretch:
    events = Undecoded(poll.values, told)  # type: ignore[arg-type]
    offsets, broker = np.array(poll.offsets, np.int64), np.array(poll.ts_broker, np.int64)
    broker[(broker < 0) | (broker > MAX_MS)] = 0
    nothing = np.empty(0, np.int64)
    if not letters:
        return LogStretch(events, poll.values, offsets, broker, [], nothing, found)  # type: ignore[arg-type]
    kept = np.ones(len(told), np.bool_)
    kept[list(letters)] = False
    at = np.flatnonzero(kept).tolist()
    return LogStretch(
        events=events.picked(at), raw=[poll.values[i] for i in at],  # type: ignore[misc]
        offsets=offsets[kept], ts_broker=broker[kept], rejected=list(letters.values()), rejected_broker=broker[~kept],
        decoded=found.chosen(kept),
    )  # fmt: skip
