"""What a Produce request appends and where its response says that it lies: enough to know how far a log reaches. Pure.

https://kafka.apache.org/protocol#The_Messages_Produce
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from infra.embedded.kafka_wire import REQUEST_HEAD, RESPONSE_HEAD, Reader

OLDEST: Final = 3
NEWEST: Final = 12
"""The next version names topics by id, which the embedded broker has none of."""
FLEXIBLE: Final = 9
_ACKS: Final = Struct(">hi")
_BATCH: Final = Struct(">qi")
_LAST_OFFSET_DELTA: Final = Struct(">i")
_DELTA_AT: Final = 23
NO_RESPONSE: Final = 0
"""`acks` of a writer that wants to hear nothing."""


@dataclass(frozen=True, slots=True)
class Produce:
    """A Produce request: its version, its acks, and how many records it has for each partition of the topic asked for."""

    version: int
    acks: int
    records: Mapping[int, int] = field(default_factory=dict)


def produce_of(frame: bytes, topic: bytes) -> Produce | None:
    """The Produce request in a whole frame (length included); None where its version is one we do not read."""
    _, _, version, _ = REQUEST_HEAD.unpack_from(frame)
    if not OLDEST <= version <= NEWEST:
        return None
    flexible = version >= FLEXIBLE
    reader = Reader(frame, REQUEST_HEAD.size)
    reader.text(compact=False)  # the client id stays a plain string in every header version
    if flexible:
        reader.tags()
    reader.text(flexible)  # transactional id
    acks, _ = _ACKS.unpack_from(frame, reader.at)
    reader.skip(_ACKS.size)
    records: dict[int, int] = {}
    for _ in range(reader.count(flexible)):
        wanted = reader.words(flexible) == topic
        for _ in range(reader.count(flexible)):
            partition = reader.int32()
            size = reader.count(flexible)
            if wanted:
                records[partition] = records.get(partition, 0) + _records(frame, reader.at, reader.at + size)
            reader.skip(size)
            if flexible:
                reader.tags()
        if flexible:
            reader.tags()
    return Produce(version, acks, records)


def _records(frame: bytes, at: int, end: int) -> int:
    """How many offsets the record batches between two places take."""
    found = 0
    while at + _DELTA_AT + _LAST_OFFSET_DELTA.size <= end:
        found += _LAST_OFFSET_DELTA.unpack_from(frame, at + _DELTA_AT)[0] + 1
        at += _BATCH.size + _BATCH.unpack_from(frame, at)[1]
    return found


def first_offsets(frame: bytes, version: int, topic: bytes) -> Mapping[int, int]:
    """Partition to the offset of the first record of the request, where the broker took it."""
    flexible = version >= FLEXIBLE
    reader = Reader(frame, RESPONSE_HEAD.size)
    if flexible:
        reader.tags()
    taken = {}
    for _ in range(reader.count(flexible)):
        wanted = reader.words(flexible) == topic
        for _ in range(reader.count(flexible)):
            partition, error, first = reader.int32(), reader.int16(), reader.int64()
            if wanted and error == 0 and first >= 0:
                taken[partition] = first
            _skip_rest(reader, version, flexible)
        if flexible:
            reader.tags()
    return taken


def _skip_rest(reader: Reader, version: int, flexible: bool) -> None:
    reader.skip(8 if version < 5 else 8 + 8)  # append time, log start
    if version >= 8:
        for _ in range(reader.count(flexible)):  # records that were refused
            reader.skip(4)
            reader.text(flexible)
            if flexible:
                reader.tags()
        reader.text(flexible)
    if flexible:
        reader.tags()
