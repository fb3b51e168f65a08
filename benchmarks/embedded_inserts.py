"""How fast does a Native block get into the embedded engine? `python -m benchmarks.embedded_inserts`

Prints rows per second and processor time per row of the process that owns the engine, for blocks of several sizes, over HTTP.
With --methods it compares, inside one process and without HTTP, the ways in which bytes can reach the engine.
"""

import argparse
import http.client
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lz4.frame
import zstandard

from infra.embedded.chdb_engine import Engine, Options
from infra.embedded.clickhouse import answers, command
from tests.services.processes import Program, free_ports

TABLE = "bench.rows"
CPU_TICK = os.sysconf("SC_CLK_TCK")


def columns(count: int) -> list[str]:
    fixed = ["symbol LowCardinality(String)", "partition UInt16", "src_offset UInt64", "ts DateTime64(9)", "ver UInt64"]
    return fixed + [f"f{number} Float64" for number in range(count - len(fixed))]


def ddl(count: int) -> list[str]:
    return [
        "CREATE DATABASE IF NOT EXISTS bench",
        f"DROP TABLE IF EXISTS {TABLE} SYNC",
        f"CREATE TABLE {TABLE} ({', '.join(columns(count))}) ENGINE = ReplacingMergeTree(ver) "
        "ORDER BY (symbol, partition, src_offset) SETTINGS non_replicated_deduplication_window = 10000",
    ]


def block(engine: Engine, count: int, rows: int, first: int) -> bytes:
    """One block in Native format, its offsets beginning at `first`."""
    values = ", ".join(f"randCanonical({number}) * 100 AS f{number}" for number in range(count - 5))
    text = f"""SELECT toLowCardinality(concat('S', toString(number % 20))) AS symbol, toUInt16(number % 4) AS partition,
        number + {first} AS src_offset, toDateTime64('2024-01-01 00:00:00', 9) + number AS ts, toUInt64(number) AS ver,
        {values} FROM numbers({rows}) SETTINGS max_block_size = {rows}"""
    with engine.session(Options()) as session:
        return session.query(text, "Native").body


@contextmanager
def server(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a fresh engine process."""
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    program = Program(command(folder / "served", port), folder / "log")
    program.start()
    program.await_ready(lambda: answers(port), within_s=10)
    try:
        yield port, program.pid
    finally:
        program.stop()


def post(connection: http.client.HTTPConnection, query: str, body: bytes, headers: dict[str, str]) -> None:
    connection.request("POST", "/?" + query, body=body, headers=headers)
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, text


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CPU_TICK


def over_http(port: int, pid: int, bodies: list[bytes], rows: int, threads: int, encoding: str) -> str:
    pack = {"": bytes, "lz4": lz4.frame.compress, "zstd": zstandard.ZstdCompressor(level=1).compress}[encoding]
    packed = [pack(body) for body in bodies]
    headers = {"Content-Encoding": encoding} if encoding else {}

    def work(own: list[tuple[int, bytes]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for number, body in own:
            query = (
                f"query=INSERT+INTO+{TABLE}+FORMAT+Native&async_insert=0&insert_deduplication_token={encoding}{number}"
            )
            post(connection, query, body, headers)
        connection.close()

    numbered = list(enumerate(packed))
    workers = [threading.Thread(target=work, args=(numbered[first::threads],)) for first in range(threads)]
    begun, cpu = time.perf_counter(), cpu_seconds(pid)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, cpu, total = time.perf_counter() - begun, cpu_seconds(pid) - cpu, rows * len(bodies)
    return f"{encoding or 'plain':6s} {threads} client(s) {total / took:12,.0f} rows/s {cpu / total * 1e6:6.2f} us/row"


def methods(engine: Engine) -> dict[str, Callable[[int, bytes], None]]:
    """Ways for bytes into the engine, each called with the insert's number and its block."""
    shared = Path(tempfile.mkdtemp(dir="/dev/shm")) / "block.native"
    settings = {"async_insert": "0"}

    def send_insert(number: int, body: bytes) -> None:
        with engine.session(Options(settings={**settings, "insert_deduplication_token": f"a{number}"})) as session:
            session.insert(f"INSERT INTO {TABLE}", "Native", (body,))

    def from_file(text: str) -> Callable[[int, bytes], None]:
        def insert(number: int, body: bytes) -> None:
            shared.write_bytes(body)
            with engine.session(
                Options(settings={**settings, "insert_deduplication_token": f"{text}{number}"})
            ) as session:
                session.query(text.format(table=TABLE, path=shared), "Null")

        return insert

    return {
        "send_insert": send_insert,
        "SELECT FROM file() on tmpfs": from_file("INSERT INTO {table} SELECT * FROM file('{path}', 'Native')"),
        "FROM INFILE on tmpfs": from_file("INSERT INTO {table} FROM INFILE '{path}' FORMAT Native"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", action="store_true")
    parser.add_argument("--rows", type=int, default=600_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = Engine(folder / "local", allow_outside=True)
        for count in (45, 10):
            for rows in (5_000, 50_000):
                bodies = [block(engine, count, rows, first) for first in range(0, options.rows, rows)]
                print(f"-- {count} columns, blocks of {rows:,} rows, {len(bodies[0]):,} bytes")
                if options.methods:
                    for title, insert in methods(engine).items():
                        with engine.session(Options()) as session:
                            for statement in ddl(count):
                                session.query(statement, "Null")
                        begun, cpu = time.perf_counter(), time.process_time()
                        for number, body in enumerate(bodies):
                            insert(number, body)
                        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
                        print(f"{title:28s} {options.rows / took:12,.0f} rows/s {cpu / options.rows * 1e6:6.2f} us/row")
                    continue
                with server(folder / f"{count}-{rows}") as (port, pid):
                    for encoding in ("", "lz4", "zstd"):
                        for threads in (1, 4):
                            connection = http.client.HTTPConnection("127.0.0.1", port)
                            for statement in ddl(count):
                                post(connection, "", statement.encode(), {})
                            connection.close()
                            print(over_http(port, pid, bodies, rows, threads, encoding))
        engine.close()


if __name__ == "__main__":
    main()
