"""Embedded services of a benchmark's own, in a directory that is thrown away, and a log to measure on."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.embedded.services import WantedPorts, start_embedded
from infra.embedded.supervisor import Supervisor
from infra.instance import at
from infra.kafka import KafkaWriter, create_topics, end_offsets
from infra.settings import Kafka, Settings
from schemas.events import Event
from streams.collectors.sim import SimExchange

NS: Final = 1_000_000_000
SYMBOLS: Final = 24
MARKET_S: Final = 300.0
"""Event time that a log covers, whatever its length: enough for labels to mature and a model to be trained."""
CHUNK: Final = 20_000


@dataclass(frozen=True)
class Workbench:
    """Settings that point at the services, and whoever runs them."""

    settings: Settings
    supervisor: Supervisor

    def pids(self) -> dict[str, int]:
        """Process of every service."""
        return {watched.service.name: watched.pid for watched in self.supervisor.services()}


@contextmanager
def workbench(settings: Settings) -> Iterator[Workbench]:
    """Kafka, Redis and ClickHouse on free ports; of `settings` only what decides how is folded and scored."""
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-") as folder, Supervisor(Path(folder)) as supervisor:
        embedded = start_embedded(supervisor, WantedPorts(0, 0, 0))
        own = Settings(
            data=Path(folder),
            kafka=Kafka(partitions=settings.kafka.partitions),
            fold=settings.fold,
            models=settings.models,
        )
        found = at(own, embedded.as_dict())
        create_topics(found.kafka)
        yield Workbench(found, supervisor)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: events of the exchange, and records (marks are written to every partition)."""

    events: int
    records: int
    seconds: float
    """For encoding, sending and acknowledgement; making the events does not count."""


class SimLog:
    """A simulated market of `MARKET_S` seconds that ended just now, `events` long, written in as many parts as wanted."""

    def __init__(self, kafka: Kafka, events: int, seed: int = 1) -> None:
        self._kafka, self._rate = kafka, events / MARKET_S
        self._at = (time.time_ns() - round(1.2 * MARKET_S * NS)) // NS * NS
        self._exchange = SimExchange(seed, SYMBOLS, self._at, events_per_second=self._rate)
        self._made: list[Event] = []

    def write(self, events: int) -> Written:
        """Append the next so many."""
        writer, seconds, left, before = KafkaWriter(self._kafka), 0.0, events, records(self._kafka)
        while left:
            part = self._next(min(left, CHUNK))
            left -= len(part)
            began = time.perf_counter()
            writer.write(part)
            seconds += time.perf_counter() - began
        began = time.perf_counter()
        writer.flush()
        return Written(events, records(self._kafka) - before, seconds + time.perf_counter() - began)

    def _next(self, most: int) -> list[Event]:
        while len(self._made) < most:
            self._at += NS
            self._made += self._exchange.events_until(self._at)
        part, self._made = self._made[:most], self._made[most:]
        return part


def records(kafka: Kafka, topic: str = "market.events.v1") -> int:
    """How many a topic has."""
    return sum(high - low for low, high in end_offsets(kafka, topic).values())
