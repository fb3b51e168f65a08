"""Embedded services of a benchmark's own, in a directory that is thrown away, and a log to measure on."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from infra.embedded.services import WantedPorts, start_embedded
from infra.embedded.supervisor import Supervisor
from infra.instance import at
from infra.kafka import create_topics
from infra.kafka_log import end_offsets
from infra.kafka_writer import KafkaWriter
from infra.logs import configure_logging
from infra.settings import Kafka, Settings
from schemas.events import Event
from schemas.topics import EVENTS
from streams.collectors.sim import SimExchange

NS: Final = 1_000_000_000
SYMBOLS: Final = 24
MARKET_S: Final = 300.0
"""Event time that a log covers, whatever its length: enough for labels to mature and a model to be trained."""
SEED: Final = 1
CHUNK: Final = 20_000
R = TypeVar("R")


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


def in_child(work: Callable[..., R], *arguments: Any) -> R:
    """Do it in a fresh process, so that no memory and no client's thread of one measurement is left to the next."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=configure_logging, initargs=("warning",)) as pool:
        return pool.submit(work, *arguments).result()


@dataclass(frozen=True, slots=True)
class Market:
    """A simulated market that ended just now: events `first` to `last` of it, spread over MARKET_S seconds."""

    start_ns: int
    rate: float
    first: int
    last: int

    @classmethod
    def of(cls, events: int) -> "Market":
        """All of a market of so many events."""
        start = time.time_ns() - round(1.2 * MARKET_S * NS)
        return cls(start // NS * NS, events / MARKET_S, 0, events)

    def split(self, at: int) -> tuple["Market", "Market"]:
        """Its first `at` events, and the others."""
        at = min(at, self.last)
        return replace(self, last=at), replace(self, first=at)

    def events(self) -> Iterator[list[Event]]:
        """In chunks."""
        exchange = SimExchange(SEED, SYMBOLS, self.start_ns, events_per_second=self.rate)
        now, said = self.start_ns, 0
        while said < self.last:
            now += max(NS, round(CHUNK / self.rate) * NS)
            heard = exchange.events_until(now)
            chunk = heard[max(0, self.first - said) : max(0, self.last - said)]
            said += len(heard)
            if chunk:
                yield chunk


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: events of the exchange, and records (marks are written to every partition)."""

    events: int
    records: int
    seconds: float
    """For encoding, sending and acknowledgement; making the events does not count."""

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


def write_log(kafka: Kafka, market: Market) -> Written:
    """Append a market to the events log, at full speed."""
    writer, seconds, before = KafkaWriter(kafka), 0.0, records(kafka)
    for chunk in market.events():
        began = time.perf_counter()
        writer.write(chunk)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    writer.flush()
    seconds += time.perf_counter() - began
    return Written(market.last - market.first, records(kafka) - before, seconds)


def records(kafka: Kafka, topic: str = EVENTS.name) -> int:
    """How many a topic has."""
    return sum(high - low for low, high in end_offsets(kafka, topic).values())


def train_model(settings: Settings) -> str:
    """A model from what is on the log; its id."""
    from infra.training import train_from_log  # noqa: PLC0415 (scikit-learn costs seconds)

    return train_from_log(settings, lambda *_: None)[1].id
