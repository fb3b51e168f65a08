"""As much of Kafka's wire protocol as the relay in front of the embedded broker reads. Pure.

https://kafka.apache.org/protocol: a request is `length, api key, api version, correlation id, client id, body`, a response
`length, correlation id, body`; the responses of a connection come in the order of its requests.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, TypeAlias

PRODUCE: Final = 0
FETCH: Final = 1
METADATA: Final = 3
FIND_COORDINATOR: Final = 10
DESCRIBE_CLUSTER: Final = 60
NAMES_BROKERS: Final = frozenset({METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER})
"""Responses that say where brokers listen."""
FLEXIBLE_FETCH: Final = 12
"""From this version on strings and arrays are compact, and structures end with tagged fields."""
NEWEST_FETCH: Final = 13
REQUEST_HEAD: Final = Struct(">ihhi")
RESPONSE_HEAD: Final = Struct(">ii")
_FETCH_WAIT: Final = Struct(">iii")
Bytes: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Fetch:
    """A Fetch request: its version, how long the broker may wait, and whether it continues a fetch session."""

    version: int
    max_wait_ms: int


class Frames:
    """Cuts a byte stream into frames; gathers the head of each, and the whole of those that are wanted."""

    def __init__(self, head: int) -> None:
        self._head = self._wanted = head
        self._kept = bytearray()
        self._passing = 0
        """Bytes of the frame at hand that are passed on unseen."""

    @property
    def between(self) -> bool:
        """Whether every frame that has begun is whole."""
        return not self._kept and not self._passing

    def parts(self, data: bytes, wants_whole: Callable[[bytes, int], bool]) -> Iterator[tuple[Bytes, bool, bool]]:
        """(bytes, whether a frame begins with them, whether they are all of it), in order and without gaps.

        wants_whole: asked of every frame with its head and its length.
        """
        view = memoryview(data)
        while view:
            if self._passing:
                part, view = view[: self._passing], view[self._passing :]
                self._passing -= len(part)
                yield part, False, False
                continue
            missing = self._wanted - len(self._kept)
            self._kept += view[:missing]
            view = view[missing:]
            if len(self._kept) < self._wanted:
                return
            length = 4 + int.from_bytes(self._kept[:4], "big")
            if self._wanted == self._head < length and wants_whole(bytes(self._kept), length):
                self._wanted = length
                continue
            frame = bytes(self._kept)
            self._kept.clear()
            self._wanted, self._passing = self._head, length - len(frame)
            yield frame, True, not self._passing


def fetch_of(frame: bytes) -> Fetch | None:
    """The Fetch request in a whole frame (length included); None where its version is one we do not read."""
    _, _, version, _ = REQUEST_HEAD.unpack_from(frame)
    if not 4 <= version <= NEWEST_FETCH:
        return None
    reader = Reader(frame, REQUEST_HEAD.size)
    reader.text(compact=False)  # the client id stays a plain string in every header version
    if version >= FLEXIBLE_FETCH:
        reader.tags()
    _, max_wait_ms, _ = _FETCH_WAIT.unpack_from(frame, reader.at)
    return Fetch(version, max_wait_ms)


def is_empty(frame: bytes, version: int) -> bool:
    """Whether a whole Fetch response (length included) brings neither a record nor an error."""
    flexible = version >= FLEXIBLE_FETCH
    reader = Reader(frame, RESPONSE_HEAD.size)
    if flexible:
        reader.tags()
    reader.skip(4)  # throttle time
    if version >= 7:
        if reader.int16() != 0:
            return False
        reader.skip(4)  # session
    for _ in range(reader.count(flexible)):
        if version >= NEWEST_FETCH:
            reader.skip(16)
        else:
            reader.text(flexible)
        for _ in range(reader.count(flexible)):
            if not _is_empty_partition(reader, version, flexible):
                return False
        if flexible:
            reader.tags()
    return True


def _is_empty_partition(reader: "Reader", version: int, flexible: bool) -> bool:
    reader.skip(4)
    if reader.int16() != 0:
        return False
    reader.skip(8 + 8)  # high watermark, last stable offset
    if version >= 5:
        reader.skip(8)  # log start
    for _ in range(reader.count(flexible)):  # aborted transactions
        reader.skip(16)
        if flexible:
            reader.tags()
    if version >= 11:
        reader.skip(4)  # preferred replica
    if reader.count(flexible) > 0:  # bytes of records
        return False
    if flexible:
        reader.tags()
    return True


def moved(frame: bytes, host: str, port: int, to: int) -> bytes:
    """A response that names brokers, with the address `host:port` changed to another port; its length stays."""
    name = host.encode()
    return frame.replace(name + port.to_bytes(4, "big"), name + to.to_bytes(4, "big"))


class Reader:
    """Walks over a frame, field by field."""

    def __init__(self, frame: bytes, at: int) -> None:
        self.frame, self.at = frame, at

    def skip(self, size: int) -> None:
        self.at += size

    def int16(self) -> int:
        self.at += 2
        return int.from_bytes(self.frame[self.at - 2 : self.at], "big", signed=True)

    def int32(self) -> int:
        self.at += 4
        return int.from_bytes(self.frame[self.at - 4 : self.at], "big", signed=True)

    def int64(self) -> int:
        self.at += 8
        return int.from_bytes(self.frame[self.at - 8 : self.at], "big", signed=True)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.frame[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def count(self, flexible: bool) -> int:
        """Length of an array or of bytes; 0 for none."""
        if flexible:
            return max(0, self.varint() - 1)
        return max(0, self.int32())

    def text(self, compact: bool) -> None:
        self.words(compact)

    def words(self, compact: bool) -> bytes:
        """A string as its bytes; empty for none."""
        length = max(0, self.varint() - 1 if compact else self.int16())
        self.at += length
        return self.frame[self.at - length : self.at]

    def tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.skip(self.varint())
