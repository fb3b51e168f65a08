"""The stock client works against the embedded engine as against a server."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.infra.embedded.conftest import ClickHouse

COLUMNS = ["symbol", "seq", "price", "at", "venue", "note", "tags"]
DDL = """CREATE OR REPLACE TABLE connect.ticks (symbol LowCardinality(String), seq UInt64, price Float64,
    at DateTime64(9, 'UTC'), venue Enum8('SIM' = 1, 'XNAS' = 2), note Nullable(String), tags Array(String))
    ENGINE = ReplacingMergeTree ORDER BY (symbol, seq) SETTINGS non_replicated_deduplication_window = 100"""


def rows(count: int) -> list[list[Any]]:
    at = datetime(2024, 1, 2, 3, 4, 5, 678000)
    return [
        [f"S{seq % 3}", seq, seq / 8, at, "SIM", None if seq % 2 else "even", ["a", str(seq)]] for seq in range(count)
    ]


@pytest.fixture(params=["plain", "lz4", "zstd", "gzip"])
def client(clickhouse: ClickHouse, request: pytest.FixtureRequest) -> Iterator[Any]:
    compress = False if request.param == "plain" else request.param
    made = clickhouse_connect.get_client(host="127.0.0.1", port=clickhouse.port, compress=compress)
    made.command("CREATE DATABASE IF NOT EXISTS connect")
    made.command(DDL)
    yield made
    made.close()


def test_the_handshake_tells_version_and_time_zone(client: Any) -> None:
    assert client.ping()
    assert client.server_version.startswith("26.9.")
    assert str(client.server_tz) == "UTC"


def test_rows_inserted_are_the_rows_selected(client: Any) -> None:
    summary = client.insert("connect.ticks", rows(50_000), column_names=COLUMNS)
    assert summary.written_rows == 50_000
    result = client.query("SELECT * FROM connect.ticks ORDER BY seq")
    assert [list(row) for row in result.result_rows] == rows(50_000)


def test_a_token_makes_an_insert_count_once(client: Any) -> None:
    for _ in range(2):
        client.insert(
            "connect.ticks",
            rows(10),
            column_names=COLUMNS,
            settings={"insert_deduplication_token": "t", "async_insert": 0},
        )
    assert client.command("SELECT count() FROM connect.ticks") == 10


def test_parameters_are_bound_by_the_engine(client: Any) -> None:
    client.insert("connect.ticks", rows(100), column_names=COLUMNS)
    text = "SELECT seq FROM connect.ticks WHERE symbol = {symbol:String} AND seq IN {seqs:Array(UInt64)} ORDER BY seq"
    found = client.query(text, parameters={"symbol": "S0", "seqs": [1, 3, 6]})
    assert found.result_rows == [(3,), (6,)]
    many = client.query("SELECT length({x:Array(UInt64)})", parameters={"x": list(range(20_000))})
    assert many.result_rows == [(20_000,)]
    quoted = client.query("SELECT {s:String}", parameters={"s": "it's\ta \\ test\n’"})
    assert quoted.result_rows == [("it's\ta \\ test\n’",)]


def test_frames_and_arrow_tables_come_and_go(client: Any) -> None:
    client.insert("connect.ticks", rows(100), column_names=COLUMNS)
    frame = client.query_df("SELECT symbol, seq, price FROM connect.ticks ORDER BY seq")
    assert (list(frame.columns), frame["price"].sum()) == (["symbol", "seq", "price"], sum(range(100)) / 8)
    table = client.query_arrow("SELECT symbol, seq, price FROM connect.ticks ORDER BY seq")
    assert table.num_rows == 100
    client.command("CREATE OR REPLACE TABLE connect.arrow (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    client.insert_arrow("connect.arrow", pa.table({"a": pa.array([1, 2], pa.uint64()), "b": ["x", "y"]}))
    client.insert_df("connect.arrow", client.query_df("SELECT a + 2 AS a, b FROM connect.arrow"))
    assert client.query("SELECT a, b FROM connect.arrow ORDER BY a").result_rows == [
        (1, "x"),
        (2, "y"),
        (3, "x"),
        (4, "y"),
    ]


def test_a_long_result_is_streamed_block_by_block(client: Any) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(300000)") as stream:
        assert sum(block[-1][0] - block[0][0] + 1 for block in stream) == 300_000


def test_errors_come_with_their_code(client: Any) -> None:
    with pytest.raises(DatabaseError) as unknown:
        client.query("SELECT * FROM connect.nowhere")
    assert (unknown.value.code, unknown.value.name) == (60, "UNKNOWN_TABLE")
    with (
        pytest.raises(DatabaseError, match="FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        client.query_row_block_stream("SELECT throwIf(number > 250000) FROM numbers(300000)") as stream,
    ):
        assert sum(len(block) for block in stream) < 300_000


def test_an_empty_result_is_no_error(client: Any) -> None:
    assert client.query("SELECT seq FROM connect.ticks").result_rows == []
    assert client.query("SELECT seq, at FROM connect.ticks LIMIT 0").column_names == ("seq", "at")


def test_a_client_may_have_a_database_of_its_own(clickhouse: ClickHouse, client: Any) -> None:
    own = clickhouse_connect.get_client(host="127.0.0.1", port=clickhouse.port, database="connect")
    assert own.command("SELECT currentDatabase()") == "connect"
    assert own.command("EXISTS TABLE ticks") == 1
    own.close()
