"""When a failed delivery is tried again, and when an endpoint that keeps failing is left alone for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

NS: Final = 1_000_000_000
SCHEDULE_S: Final = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Pauses after the first attempt, the second and so on: of Standard Webhooks 1.0."""
JITTER: Final = 0.2
"""A pause is up to so much longer, so that what failed together does not come back together."""


def due_after(
    tries: int, failed_ns: int, message: str, schedule_s: Sequence[float], retry_after_s: float = 0.0
) -> int | None:
    """When the attempt after number `tries` is due, ns; None where that was the last. The jitter is a hash of the message.

    >>> due_after(1, 0, "a", SCHEDULE_S) / NS >= 5 and due_after(10, 0, "a", SCHEDULE_S) is None
    True
    """
    if tries > len(schedule_s):
        return None
    digest = blake2b(f"{message}:{tries}".encode(), digest_size=8).digest()
    pause_s = schedule_s[tries - 1] * (1 + JITTER * int.from_bytes(digest, "big") / 2**64)
    return failed_ns + round(max(pause_s, retry_after_s) * NS)


@dataclass(slots=True)
class Breaker:
    """Of one endpoint: opens after `failures` in a row, for a pause that doubles; then one attempt decides."""

    failures: int = 5
    first_s: float = 10.0
    longest_s: float = 600.0
    in_a_row: int = 0
    open_until: int = 0

    def room(self, now_ns: int, most: int) -> int:
        """How many attempts may be under way now, of `most`: all, one that tries out, or none."""
        if self.in_a_row < self.failures:
            return most
        return 0 if now_ns < self.open_until else 1

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is left alone or tried out."""
        return self.in_a_row >= self.failures

    def saw(self, *, success: bool, now_ns: int) -> None:
        """What became of an attempt."""
        if success:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row >= self.failures:
            pause_s = min(self.first_s * 2 ** min(self.in_a_row - self.failures, 16), self.longest_s)
            self.open_until = now_ns + round(pause_s * NS)
