"""What goes wrong on the way to a ClickHouse is named, stores nothing, and leaves the connections fit for use."""

import fcntl
import http.client
import resource
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from infra.clickhouse import Database, connect
from infra.clickhouse_http import _is_quiet
from schemas.errors import DatabaseError, DatabaseUnavailable, SettingsError
from tests.services.clickhouse_server import ClickHouseServer, started
from tests.services.clickhouse_ways import (
    DEBIAN,
    EVERY,
    NO_SUCH_COLUMN,
    SYNTAX_ERROR,
    TOO_OLD,
    TYPE_MISMATCH,
    UNKNOWN_TABLE,
    make_table,
)
from tests.services.processes import HOST, free_ports, listens


@EVERY
@pytest.mark.parametrize(
    ("sql", "code"), [("SELECT * FROM (SELECT 1", SYNTAX_ERROR), ("SELECT * FROM nowhere_to_be_found", UNKNOWN_TABLE)]
)
def test_a_wrong_statement_carries_clickhouses_code_and_the_statement(database: Database, sql: str, code: int) -> None:
    for run in (database.rows, database.command):
        with pytest.raises(DatabaseError) as raised:
            run(sql)
        assert raised.value.code == code
        assert sql in str(raised.value)
        assert "Stack trace" not in str(raised.value)


@EVERY
def test_a_block_that_does_not_fit_stores_nothing(database: Database) -> None:
    table = make_table(database, "v UInt8")
    for columns, code in (
        ({"i": [1, 2], "v": [1, 256]}, TYPE_MISMATCH),
        ({"i": [1, 2], "v": [1]}, TYPE_MISMATCH),
        ({"i": [1], "w": [1]}, NO_SUCH_COLUMN),
    ):
        with pytest.raises(DatabaseError) as raised:
            database.insert(table.name, columns)
        assert raised.value.code == code
    with pytest.raises(DatabaseError) as raised:
        database.insert("nowhere_to_be_found", {"i": [1]})
    assert raised.value.code == UNKNOWN_TABLE
    assert table.rows() == []


@EVERY
def test_failures_leave_the_connections_fit_for_use(database: Database) -> None:
    table = make_table(database, "v UInt8")
    for i in range(10):
        with pytest.raises(DatabaseError):
            database.rows("SELECT nothing_known")
        with pytest.raises(DatabaseError):
            database.insert(table.name, {"i": [i], "v": [999]})
        assert database.rows("SELECT 1 AS one").rows == [(1,)]
        assert database.insert(table.name, {"i": [i], "v": [i]}) == 1
    assert table.rows("count()") == [(10,)]


@EVERY
def test_eight_threads_may_write_and_read_at_once(database: Database) -> None:
    table = make_table(database, "who UInt8")
    wrong: list[object] = []

    def work(who: int) -> None:
        try:
            for turn in range(10):
                database.insert(table.name, {"i": np.arange(100), "who": np.full(100, who)})
                rows = database.rows(f"SELECT count() FROM {table.name} WHERE who = {who}").rows
                if rows != [(100 * (turn + 1),)]:
                    wrong.append((who, turn, rows))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert table.rows("count()") == [(8_000,)]


@pytest.mark.parametrize("scheme", ["http", "native"])
def test_a_server_that_is_not_there_is_named_at_once(scheme: str) -> None:
    (port,) = free_ports(1)
    database = connect(f"{scheme}://u:s3cret@{HOST}:{port}/x", timeout_s=1, connect_timeout_s=1)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match=f"{scheme}://{HOST}:{port}/x did not answer") as raised:
        database.rows("SELECT 1")
    assert time.monotonic() - began < 3
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["http", "native"])
def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(scheme: str) -> None:
    with socket.create_server((HOST, 0)) as mute:
        database = connect(f"{scheme}://{HOST}:{mute.getsockname()[1]}", timeout_s=0.3, connect_timeout_s=0.3)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            database.insert("t", {"i": [1]})
        assert time.monotonic() - began < 3


def test_an_idle_connection_is_looked_at_whatever_number_its_descriptor_has() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2_000), limits[1]))
    ours, theirs = socket.socketpair()
    connection = http.client.HTTPConnection(HOST)
    try:
        assert not _is_quiet(connection)
        connection.sock = socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 1_500))
        assert connection.sock.fileno() >= 1_500
        assert _is_quiet(connection)
        theirs.close()
        assert not _is_quiet(connection)
    finally:
        connection.close()
        ours.close()
        theirs.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.clickhouse_server
def test_a_server_that_went_away_is_an_error_and_one_that_came_back_is_used_again(tmp_path: Path) -> None:
    server = started(tmp_path)
    try:
        database = connect(server.native_url, timeout_s=5, connect_timeout_s=1)
        assert database.rows("SELECT 1 AS one").rows == [(1,)]
        server.program.kill()
        with pytest.raises(DatabaseUnavailable):
            database.rows("SELECT 1 AS one")
        server.program.start()
        server.program.await_ready(lambda: listens(server.tcp_port), within_s=20)
        assert database.rows("SELECT 1 AS one").rows == [(1,)]
        database.close()
    finally:
        server.program.stop()


@pytest.mark.clickhouse_server
def test_a_user_needs_the_right_password(clickhouse_server: ClickHouseServer) -> None:
    port = clickhouse_server.tcp_port
    right = connect(f"native://writer:s3cret@{HOST}:{port}")
    assert right.rows("SELECT 1").rows == [(1,)]
    right.close()
    with pytest.raises(DatabaseError, match="writer") as raised:
        connect(f"native://writer:wrong@{HOST}:{port}").rows("SELECT 1")
    assert raised.value.code == 193


@pytest.mark.parametrize("way", [DEBIAN])
def test_an_old_server_is_told_apart_rather_than_trusted_with_what_it_cannot_do(database: Database) -> None:
    table = make_table(database, "v Float64")
    with pytest.raises(
        DatabaseError, match=r"insert tokens need ClickHouse 22.2 or later, this server is 18.16"
    ) as raised:
        database.insert(table.name, {"i": [1], "v": [1.0]}, token="0-9")
    assert raised.value.code == TOO_OLD
    with pytest.raises(DatabaseError, match=r"query parameters need ClickHouse 22.8 or later"):
        database.rows("SELECT {x:String}", {"x": "a"})
    assert table.rows() == []


@pytest.mark.parametrize("wrong", ["127.0.0.1:8123", "mysql://h/db", "http://", ""])
def test_a_url_that_is_none_of_ours_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="expected a ClickHouse URL such as"):
        connect(wrong)


@pytest.mark.parametrize(
    "wrong", ["http://h:port/", "http://h:70000/", "http://u:secret/word@h:8123/", "http://[::1:8123/"]
)
def test_a_url_whose_port_cannot_be_read_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(SettingsError, match="with a port from 1 to 65535") as refused:
        connect(wrong)
    assert "secret" not in str(refused.value)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(SettingsError, match="must be one of none, lz4, found 'snappy'"):
        connect("http://h", compression="snappy")
