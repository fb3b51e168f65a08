"""What the streams need from the outside, in their own words; infra has the adapters, tests have lists."""

from collections.abc import Sequence
from typing import Protocol

from schemas.events import Event
from schemas.rows import DeadLetter


class EventWriter(Protocol):
    """The events log. A record that the broker did not acknowledge raises `DeliveryError` at the next call."""

    def write(self, events: Sequence[Event]) -> None:
        """Append in order; events without a symbol go into every partition. Blocks while the broker is slow."""

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Append to the dead letters."""

    def flush(self) -> None:
        """Return when everything written is acknowledged."""


class Clock(Protocol):
    """The wall clock; only the edge asks for it."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Meter(Protocol):
    """Counts and timings that operators look at; names as in `infra.telemetry`."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """One duration for a histogram."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
