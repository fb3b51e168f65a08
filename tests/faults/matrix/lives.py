"""A market that goes on from test to test on a shared log: each asks for the next stretch of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.events import Event, SessionMark
from tests.logs import market


@dataclass
class Market:
    """Seeded; dirty as `tests.logs.market` makes it: duplicates, late and crossed events, outages."""

    seed: int = 7
    told: int = 0

    def more(self, n: int) -> Sequence[Event]:
        """The next n events."""
        events = market(self.told + n, seed=self.seed)[self.told :]
        self.told += n
        return events

    def on_the_log(self, partitions: int) -> int:
        """Records that everything told so far makes: events that are not of one symbol go into every partition."""
        told = market(self.told, seed=self.seed)
        everywhere = sum(not event.symbol or isinstance(event, SessionMark) for event in told)
        return self.told + everywhere * (partitions - 1)
