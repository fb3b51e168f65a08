"""The product as a user runs it: `tickwire up` in a directory of its own, on ports of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.access.dev_key import read
from infra.clickhouse import connect
from infra.embedded.instance import read_run_state
from infra.kafka_log import end_offsets
from infra.settings import Kafka
from streams.audit import EVENTS, TABLES_OF

UP_WITHIN_S = 150.0
ROOT = Path(__file__).parents[2]


@dataclass
class Product:
    """A running `tickwire up`."""

    process: subprocess.Popen[str]
    data: Path
    env: Mapping[str, str]
    said: Path

    @property
    def addresses(self) -> Mapping[str, str]:
        state = read_run_state(self.data)
        assert state is not None, self.said.read_text()
        return state.addresses

    @property
    def key(self) -> Mapping[str, str]:
        """The headers by which the API knows us."""
        return {"authorization": f"Bearer {read(self.data)}"}

    def pids(self) -> list[int]:
        """Of all services and processes."""
        state = read_run_state(self.data)
        return [] if state is None else [service.pid for service in state.services]

    def tickwire(self, *arguments: str, timeout_s: float = 120) -> str:
        """Run another command against it; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments], env=dict(self.env), cwd=ROOT, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """Run another command that has to fail; what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments], env=dict(self.env), cwd=ROOT, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode != 0, done.stdout
        return done.stderr

    def command(self, sql: str) -> None:
        """Have ClickHouse do something."""
        database = connect(f"{self.addresses['clickhouse_url']}/tickwire", timeout_s=60)
        try:
            database.command(sql)
        finally:
            database.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What ClickHouse says."""
        database = connect(f"{self.addresses['clickhouse_url']}/tickwire", timeout_s=30)
        try:
            return database.rows(sql).rows
        finally:
            database.close()

    def until(self, sql: str, expected: Any, within_s: float = 90) -> None:
        """Wait until the only value of a query is the expected one."""
        deadline = time.monotonic() + within_s
        while (found := self.rows(sql)[0][0]) != expected:
            assert time.monotonic() < deadline, f"{sql}: expected {expected}, found {found}"
            time.sleep(0.2)

    def until_stored(self, within_s: float = 120) -> None:
        """Wait until every record of the log has its row: scoring may be far behind on a busy machine."""
        ends = end_offsets(Kafka(bootstrap=self.addresses["kafka"]))
        held = [f"(SELECT count() FROM {name})" for name in (*TABLES_OF[EVENTS], "dead_letters")]
        self.until(f"SELECT {' + '.join(held)}", sum(end for _, end in ends.values()), within_s)


def environment(data: Path, **settings: str) -> dict[str, str]:
    """Nothing of ours but these settings; free ports."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    ports = {f"TICKWIRE_{name}__PORT": "0" for name in ("KAFKA", "CLICKHOUSE", "REDIS", "API")}
    return {**plain, **ports, "TICKWIRE_DATA": str(data), "PYTHONPATH": str(ROOT), **settings}


@contextmanager
def running(data: Path, source: str, *options: str, **settings: str) -> Iterator[Product]:
    """`tickwire up` with these options until its table is printed; Ctrl-C at the end."""
    env, said = environment(data, **settings), data.with_name(f"{data.name}.said")
    with said.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "up", "--source", source, *options], env=env, cwd=ROOT, stdout=out,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
    product = Product(process, data, env, said)
    try:
        deadline = time.monotonic() + UP_WITHIN_S
        while "Ctrl-C stops everything" not in said.read_text():
            logs = "\n".join(f"{log}:\n{log.read_text()[-1500:]}" for log in data.glob("logs/*.log"))
            assert process.poll() is None, said.read_text() + logs
            assert time.monotonic() < deadline, said.read_text() + logs
            time.sleep(0.1)
        yield product
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def json_lines(text: str) -> list[Any]:
    """What `--json` printed."""
    return [json.loads(line) for line in text.splitlines() if line.startswith(("{", "["))]
