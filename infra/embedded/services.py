"""Everything that `make up` needs from outside, as processes of this machine: Kafka, Redis, ClickHouse."""

import os
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import infra
from infra.embedded import clickhouse
from infra.embedded.broker import broker, speaks_kafka
from infra.embedded.log_keeper import LogKeeper
from infra.embedded.ports import HOST, free_port
from infra.embedded.service import Service
from infra.embedded.supervisor import Supervisor
from infra.embedded.valkey import valkey
from infra.kafka import create_topics
from infra.private import private_folder
from infra.settings import Kafka
from schemas.topics import EVENTS

KAFKA: Final = "kafka"
RELAY: Final = "kafka-relay"
REDIS: Final = "redis"
CLICKHOUSE: Final = "clickhouse"
ALL: Final = frozenset([KAFKA, REDIS, CLICKHOUSE])
READERS: Final = ("score", "api", "news")
"""Processes that read topics: a lost end lies behind them, and they go on from what is there."""


@dataclass(frozen=True)
class WantedPorts:
    """Ports of 127.0.0.1; where one is taken the next free one above is used, for 0 any."""

    kafka: int = 9092
    redis: int = 6379
    clickhouse: int = 8123


@dataclass(frozen=True)
class Embedded:
    """Where the embedded services listen; empty for one that was not asked for.

    `log_id`: the identity of Kafka's log at the start. `log_file`: where the one of now is, with those before it.
    """

    kafka: str = ""
    redis_url: str = ""
    clickhouse_url: str = ""
    log_id: str = ""
    log_file: str = ""

    def as_dict(self) -> dict[str, str]:
        return {
            "kafka": self.kafka, "redis_url": self.redis_url, "clickhouse_url": self.clickhouse_url, "log_id": self.log_id,
            "log_file": self.log_file,
        }  # fmt: skip


def start_embedded(
    supervisor: Supervisor,
    ports: WantedPorts | None = None,
    parts: Set[str] = ALL,
    topics: Kafka | None = None,
    notice: Callable[[str], None] | None = None,
) -> Embedded:
    """Start the parts under this supervisor, all at once; returns when every one answers in its own protocol.

    They are first in its order, so that what is started later stops before them, and the broker stops last.
    `topics`: how topics are made that a crash of the broker took; its clients are let in behind that. `notice`: is told what a
    crash took, also one before this start.
    Raises ServiceFailed, and LogError for a log that is not what `topics` says.
    """
    wanted = ports or WantedPorts()
    directory = supervisor.directory
    services: list[Service] = []
    kafka = redis = url = ""
    keeper = None
    if KAFKA in parts:
        port, inner = free_port(wanted.kafka), free_port()
        keeper = _keeper(directory / KAFKA, inner, topics, notice or supervisor.tell)
        services += [_kept(broker(directory / KAFKA, inner), keeper), relay_service(port, inner, directory / KAFKA)]
        kafka = f"{HOST}:{port}"
    if REDIS in parts:
        port = free_port(wanted.redis)
        services.append(valkey(directory / REDIS, port))
        redis = f"redis://{HOST}:{port}/0"
    if CLICKHOUSE in parts:
        port = free_port(wanted.clickhouse)
        services.append(clickhouse_service(directory / CLICKHOUSE, port))
        url = f"http://{HOST}:{port}"
    if keeper is not None and not keeper.fresh:
        supervisor.start(services.pop(0))
        keeper.mended()
    supervisor.start(*services)
    log = (keeper.current().log_id, str(keeper.path)) if keeper is not None else ()
    embedded = Embedded(kafka, redis, url, *log)
    supervisor.publish(embedded.as_dict())
    return embedded


def _keeper(data: Path, inner: int, topics: Kafka | None, notice: Callable[[str], None]) -> LogKeeper:
    def prepare(broker: Kafka) -> None:
        if topics is not None:
            create_topics(topics.model_copy(update={"bootstrap": broker.bootstrap}))

    return LogKeeper(data, inner, prepare, notice)


def _kept(service: Service, keeper: LogKeeper) -> Service:
    return replace(service, mended=keeper.mended, stopped=keeper.stopped, door=RELAY, leaning=READERS)


def relay_service(listen: int, inner: int, data: Path) -> Service:
    """The long poll in front of the broker, as a service; clients know its port only."""
    relay = (sys.executable, "-m", "infra.embedded.long_poll")
    return Service(
        RELAY,
        [*relay, "--listen", str(listen), "--broker", str(inner), "--data", str(data), "--topic", EVENTS.name],
        lambda: speaks_kafka(listen),
        env=os.environ | {"PYTHONPATH": os.pathsep.join([_source(), *_path_entries()])},
        ports={KAFKA: listen},
    )


def _source() -> str:
    return str(Path(infra.__file__).parent.parent)


def clickhouse_service(data: Path, port: int) -> Service:
    """The engine's process as a service; it sees nothing of our environment, where secrets may be."""
    private_folder(data)
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([_source(), *_path_entries()])
    return Service(
        CLICKHOUSE,
        clickhouse.command(data, port),
        lambda: clickhouse.answers(port),
        stop_after=timedelta(seconds=2 * clickhouse.STOP_WITHIN_S + 10),
        cwd=data,
        env=environment,
        ports={"http": port},
    )


@contextmanager
def embedded_services(directory: Path, ports: WantedPorts | None = None) -> Iterator[Embedded]:
    """All three on a data directory, stopped behind the block; on ports that nobody else uses where none are given."""
    with Supervisor(directory) as supervisor:
        yield start_embedded(supervisor, ports or WantedPorts(0, 0, 0))


def _path_entries() -> list[str]:
    inherited = os.environ.get("PYTHONPATH", "")
    return [entry for entry in inherited.split(os.pathsep) if entry and entry in sys.path]
