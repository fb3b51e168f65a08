"""What the API needs from outside, in its own words; infra has the adapters, tests have lists.

Adapters block; the API calls them in a thread pool, so they must be safe to call from several threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.rows import Bar, Latest, ScoreStatus


class LatestRows(Protocol):
    """The newest row of every symbol. Raises: `StoreUnavailable`."""

    def read(self, symbol: str) -> Latest | None:
        """None for a symbol that has no row (any more)."""

    def symbols(self) -> Sequence[str]:
        """Every symbol that has a row, sorted."""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open stretch of event time, `start <= t < end` in ns, and which page of it: at most `limit` rows."""

    start: int
    end: int
    limit: int
    after: int | None = None
    """The time of the last row of the page before; rows follow strictly after it."""


class History(Protocol):
    """What has been written for good. Raises: `DatabaseError`, `DatabaseUnavailable`."""

    def bars(self, symbol: str, kind: str, span: Span) -> Sequence[Bar]:
        """The newest revision of each bar whose `start` lies in the span, ascending by `start`."""

    def ping(self) -> None:
        """Return if the database answers."""


class Status(Protocol):
    """What the scoring processes say about themselves. Raises: `StoreUnavailable`, `SchemaError`."""

    def scores(self) -> Sequence[ScoreStatus]:
        """The newest document of every scoring process that is alive."""


class Meter(Protocol):
    """Counts and timings that operators look at; names as in `infra.telemetry`."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """One duration for a histogram."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""


@dataclass(frozen=True)
class Ports:
    """Everything the API reaches outside itself."""

    latest: LatestRows
    history: History
    status: Status
    meter: Meter
    exposition: Callable[[], bytes]
    """The metrics of this process in Prometheus' text format."""
    now_ns: Callable[[], int]
    """The wall clock: nanoseconds since the Unix epoch."""
