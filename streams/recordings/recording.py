"""What every recorded file gives: its trades and quotes in file order, and its bad rows as dead letters."""

from collections.abc import Iterator
from typing import Final, Literal, Protocol, TypeAlias

from schemas.events import Quote, Trade
from schemas.rows import DeadLetter

Recorded: TypeAlias = Trade | Quote | DeadLetter
Reason: TypeAlias = Literal["undecodable", "unknown_type", "invalid_value", "too_large", "not_a_message"]

MAX_RAW: Final = 65_536
MAX_DETAIL: Final = 1_000
MAX_SOURCE: Final = 500


class Recording(Protocol):
    """One recorded file. `ts_ingest` of everything it gives is 0: whoever writes an event stamps it."""

    first_ns: int
    """Event time of its first event, by which it is opened; 0 where nobody has looked."""
    numbered_by_time: bool
    """Whether its numbers come from its stamps, so that another file may have given the same."""

    @property
    def name(self) -> str:
        """Folder and file name: the source of its dead letters."""

    @property
    def symbols(self) -> frozenset[str] | None:
        """All it can hold; none where only reading tells."""

    @property
    def size(self) -> int:
        """Bytes on disk."""

    @property
    def position(self) -> int:
        """Bytes of these read so far."""

    def items(self) -> Iterator[Recorded]:
        """From the first row on, in file order; reads in blocks, so memory does not grow with the file.

        Raises: `InputError` where the file itself breaks off, naming the line.
        """


def letter(source: str, line: int, reason: Reason, detail: str, raw: bytes) -> DeadLetter:
    """A row that cannot be used; `line` counts from 1."""
    return DeadLetter(
        source=source[-MAX_SOURCE:], partition=0, offset=line, reason=reason, detail=detail[:MAX_DETAIL], ts_ingest=0,
        raw=raw[:MAX_RAW],
    )  # fmt: skip
