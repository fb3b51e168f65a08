"""The embedded ClickHouse engine as tests kill and start it again: no supervisor, its own folder, its own port."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.clickhouse import Database, connect
from infra.embedded import clickhouse
from tests.services.processes import HOST, Program, free_ports

NAME = "tickwire"


@dataclass
class EngineProcess:
    """A running engine; `database` connects anew where asked for."""

    program: Program
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self.program.start()
        self.program.await_ready(lambda: clickhouse.answers(self.port), within_s=60)

    def kill(self) -> None:
        self.program.kill()

    def database(self, timeout_s: float = 30) -> Database:
        return connect(self.url, timeout_s=timeout_s, connect_timeout_s=2)


@contextmanager
def engine(folder: Path) -> Iterator[EngineProcess]:
    """An engine of one's own."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    made = EngineProcess(Program(clickhouse.command(folder / "data", port), folder / "engine.log"), port)
    made.start()
    try:
        yield made
    finally:
        made.program.stop()
