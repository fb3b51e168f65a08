"""One writer a partition: who comes second waits or is refused, and who was taken over adds no row, however late."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from urllib.parse import urlencode, urlsplit

import pytest

from infra.clickhouse import Database, connect
from infra.clickhouse_http import WRITE
from infra.fences import create_fence, guard, shut_out
from infra.locks import locked
from infra.native_format import encode_block
from infra.tables import ClickHouseTables
from schemas.errors import DatabaseError, WriterHeld
from tests.infra.engine import NAME, EngineProcess
from tests.infra.writer_process import LOG_ID, ROWS, TABLE, TOPIC, block, lease_on
from tests.services.clickhouse_ways import CURRENT, make_table
from tests.services.processes import until

pytestmark = pytest.mark.embedded
ROOT = Path(__file__).parents[2]


@contextmanager
def writer(url: str, directory: Path, rows: int, fp: str = "") -> Iterator["subprocess.Popen[str]"]:
    """The writer as a process; killed behind the block if it still runs."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FP": fp}
    command = [sys.executable, "-m", "tests.infra.writer_process", url, str(directory), str(rows)]
    with subprocess.Popen(
        command, env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]", word: str) -> str:
    """The next line that begins so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.split()[1]
    raise AssertionError(f"{word!r} was never said; {process.stderr.read() if process.stderr else ''}")


def raw_rows(database: Database) -> tuple[int, int, int]:
    """Rows, different offsets, highest offset."""
    (row,) = database.rows(f"SELECT count(), uniqExact(src_offset), max(src_offset) FROM {NAME}.{TABLE}").rows
    return int(row[0]), int(row[1]), int(row[2])


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_second_process_on_this_machine_is_refused_at_once_and_told_by_whom(
    writers_engine: EngineProcess, writers_store: Database, tmp_path: Path
) -> None:
    with locked(tmp_path / "recovery", TOPIC, [0], "0"):
        began = monotonic()
        with writer(writers_engine.url, tmp_path / "recovery", ROWS) as second:
            assert second.wait(20) == os.EX_TEMPFAIL
            assert second.stderr is not None
            complaint = second.stderr.read()
        assert monotonic() - began < 10
    assert f"process {os.getpid()}" in complaint
    assert "--partitions" in complaint
    assert (tmp_path / "recovery").stat().st_mode & 0o777 == 0o700
    assert raw_rows(writers_store)[0] == 0


def test_a_partition_of_another_group_is_refused_too(tmp_path: Path) -> None:
    with locked(tmp_path, TOPIC, [0, 1], "a"):
        with (
            pytest.raises(WriterHeld, match=r"events\.v1\[1\] is written by process"),
            locked(tmp_path, TOPIC, [1, 2], "b"),
        ):
            pass
        with locked(tmp_path, TOPIC, [2], "b") as held:
            assert list(held) == [2]


def test_a_writer_that_was_stopped_between_its_check_and_its_insert_adds_no_row(
    writers_engine: EngineProcess, writers_store: Database, tmp_path: Path
) -> None:
    with writer(writers_engine.url, tmp_path / "there", 10_000, "sink.before_insert:stop@4") as old:
        said(old, "writer")
        until("the old writer to stop itself", lambda: is_stopped(old.pid), within_s=20)
        before = raw_rows(writers_store)
        assert before == (3 * ROWS, 3 * ROWS, 3 * ROWS - 1)
        with writer(writers_engine.url, tmp_path / "here", 6 * ROWS) as new:
            assert new.wait(30) == 0
        assert raw_rows(writers_store) == (6 * ROWS, 6 * ROWS, 6 * ROWS - 1)
        os.kill(old.pid, signal.SIGCONT)
        assert old.wait(15) == os.EX_TEMPFAIL
        assert old.stderr is not None
        assert "another" in old.stderr.read()
    assert raw_rows(writers_store) == (6 * ROWS, 6 * ROWS, 6 * ROWS - 1)


def test_an_insert_whose_body_is_still_on_its_way_when_the_writer_changes_is_refused(
    writers_store: Database, writers_engine: EngineProcess
) -> None:
    old, new = lease_on(writers_store, "lock"), lease_on(writers_store, "lock")
    old.take()
    columns = block(0)
    types = dict(writers_store.rows(f"DESCRIBE TABLE {NAME}.{TABLE}").rows[i][:2] for i in range(len(columns)))
    body = encode_block(columns, types)
    insert = f"INSERT INTO {NAME}.{TABLE} ({', '.join(columns)}) FORMAT Native"
    query = urlencode({"query": insert, "query_id": old.query_id(), **WRITE})
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(writers_engine.url).port or 0)
    connection.putrequest("POST", f"/?{query}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[:100])
    new.take()
    connection.send(body[100:])
    reply = connection.getresponse()
    assert reply.status != http.client.OK
    assert b"fenced" in reply.read()
    assert raw_rows(writers_store)[0] == 0
    connection.close()


def test_an_insert_that_runs_when_the_writer_changes_is_whole_or_gone_before_the_mark_is_read(
    writers_store: Database,
) -> None:
    """Slow inserts of a killed client: each is many parts' worth of work, and none may land behind the mark."""
    for _ in range(5):
        _take_over_during_an_insert(writers_store, 300_000)


def _take_over_during_an_insert(writers_store: Database, rows: int) -> None:
    old, new = lease_on(writers_store, "lock"), lease_on(writers_store, "lock")
    old.take()
    first = 1 + ClickHouseTables(writers_store, NAME, LOG_ID).high_waters([TABLE], 0)[TABLE]
    slow = threading.Thread(target=_quietly, args=(writers_store, {**block(first, rows)}, old.query_id()), daemon=True)
    slow.start()
    until(
        "the insert to run", lambda: _runs(writers_store, old.holder) or not slow.is_alive(), within_s=10, every_s=0.001
    )
    new.take()
    mark = ClickHouseTables(writers_store, NAME, LOG_ID, writer=new).high_waters([TABLE], 0)[TABLE]
    assert not _runs(writers_store, old.holder)
    slow.join()
    assert ClickHouseTables(writers_store, NAME, LOG_ID).high_waters([TABLE], 0)[TABLE] == mark
    assert mark in (first - 1, first + rows - 1)


def _quietly(database: Database, columns: dict, query_id: str) -> None:  # type: ignore[type-arg]
    try:
        database.insert(f"{NAME}.{TABLE}", columns, query_id=query_id)
    except DatabaseError:
        return


def _runs(database: Database, holder: str) -> bool:
    found = database.rows(
        "SELECT count() FROM system.processes WHERE Settings['log_comment'] LIKE {h:String}",
        {"h": f"tickwire-{holder}-%"},
    )
    return bool(found.rows[0][0])


@CURRENT
def test_a_fenced_holder_is_refused_over_every_protocol(database: Database, clickhouse_url: str) -> None:
    table = make_table(database, "v Float64")
    create_fence(database, "contract")
    guard(database, "contract", table.name)
    guard(database, "contract", table.name)
    old, new = f"{os.getpid():032x}", "b" * 32
    shut_out(database, "contract", [old], new)
    with pytest.raises(DatabaseError) as refused:
        database.insert(table.name, {"i": [1], "v": [1.0]}, query_id=f"tickwire-{old}-1")
    assert "`fenced`" in str(refused.value)
    for query_id in (None, f"tickwire-{new}-1"):
        assert database.insert(table.name, {"i": [2], "v": [1.0]}, query_id=query_id) == 1
    other = connect(f"{clickhouse_url}/contract")
    assert other.rows(f"SELECT count() FROM {table.name}").rows == [(2,)]
    other.close()


def test_a_killed_writer_is_followed_within_seconds_and_nothing_is_lost_or_doubled(
    writers_engine: EngineProcess, writers_store: Database, tmp_path: Path
) -> None:
    for where in (
        "sink.after_insert:kill@3", "sink.before_insert:kill@2", "sink.before_high_water:kill", "sink.after_high_water:kill",
        "lease.before_take:kill", "lease.before_renew:kill@2", "sink.after_insert:kill@1", "sink.before_insert:kill@9",
    ):  # fmt: skip
        with writer(writers_engine.url, tmp_path / "same", 1_000_000, where) as killed:
            assert killed.wait(30) == -signal.SIGKILL
    began = monotonic()
    stored = raw_rows(writers_store)
    with writer(writers_engine.url, tmp_path / "same", stored[2] + 1 + 3 * ROWS) as last:
        assert last.wait(30) == 0
    assert monotonic() - began < 10
    total = stored[2] + 1 + 3 * ROWS
    assert raw_rows(writers_store) == (total, total, total - 1)
