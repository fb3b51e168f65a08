"""What every way out has in common: a message, an answer, and one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from schemas.hooks import Outcome

EXCERPT: Final = 4_096
"""Bytes of an answer that are kept."""
GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: the same bytes under the same id at every attempt."""

    id: str
    kind: str
    """`alert.fired`, `alert.cleared` or `ping`."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """One attempt to be made. `keys`: the secrets that sign it, the newest first; `at`: when, ns."""

    target: str
    message: Message
    keys: Sequence[str] = field(repr=False)
    at: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one attempt."""

    outcome: Outcome
    status: int
    detail: str
    retry_after_s: float = 0.0
    """The receiver wants to be left alone for so long."""


class Channel(Protocol):
    """One way out. Sending the same message twice must be harmless where the receiver keeps ids.

    Never raises for what the receiver or the network does: that is an `Answer`.
    """

    async def send(self, letter: Letter) -> Answer:
        """One attempt, bounded in time and size."""


def failed(detail: str, status: int = 0) -> Answer:
    """An attempt that is worth another one."""
    return Answer("failed", status, detail[:EXCERPT])
