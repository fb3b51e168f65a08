"""Lists where the broker would be, a clock that moves only when it is waited for, and counts where Prometheus would be."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.events import Event, NewsItem
from schemas.rows import DeadLetter


@dataclass
class ListWriter:
    """Both writers of `streams.ports`; `batches` as they were written."""

    batches: list[list[Event]] = field(default_factory=list)
    items: list[NewsItem] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    flushes: int = 0

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    def write(self, events: Sequence[Event]) -> None:
        self.batches.append(list(events))

    def write_news(self, items: Sequence[NewsItem]) -> None:
        self.items.extend(items)

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        self.letters.extend(letters)

    def flush(self) -> None:
        self.flushes += 1


@dataclass
class StepClock:
    """Starts at `ns`; time passes by sleeping alone."""

    ns: int
    slept: list[float] = field(default_factory=list)

    def now_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ns += round(seconds * 1e9)


@dataclass
class CountingMeter:
    """Remembers the counters."""

    counts: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        self.counts[name] += int(amount)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        pass

    def gauge(self, name: str, value: float, **labels: str) -> None:
        pass


class WallClock:
    """The real one, for tests against real sockets."""

    def now_ns(self) -> int:
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
