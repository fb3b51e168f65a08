"""One contract for every way to a ClickHouse: what is written is what is read. The ways: tests/services/clickhouse_ways.py."""

import math
import struct
import uuid
from typing import Any

import numpy as np
import pytest

from infra.clickhouse import Database
from infra.native_format import Column
from schemas.errors import DatabaseError
from schemas.tables import tables
from tests.services.clickhouse_ways import CURRENT, DEBIAN, EVERY, HTTP, NATIVE, make_table

COMPRESSION = pytest.mark.parametrize("compression", ["none", "lz4"])


def bits(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def plain(column: Column, type_: str) -> str:
    """A column that was read as an array, as the list that `rows` gives."""
    if isinstance(column, tuple):
        return repr([column[1][code] for code in column[0].tolist()])
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    if type_.startswith("Nullable(Float"):
        values = [None if math.isnan(value) else value for value in values]
    return repr(values)


EVERYWHERE: list[tuple[str, Column, list[Any]]] = [
    *((f"{sign}Int{size}", [low, 0, high], [low, 0, high])
      for sign, size, low, high in [
          ("U", 8, 0, 2**8 - 1), ("U", 16, 0, 2**16 - 1), ("U", 32, 0, 2**32 - 1), ("U", 64, 0, 2**64 - 1),
          ("", 8, -(2**7), 2**7 - 1), ("", 16, -(2**15), 2**15 - 1), ("", 32, -(2**31), 2**31 - 1), ("", 64, -(2**63), 2**63 - 1),
      ]),
    ("Float32", np.array([1.5, -0.0, np.inf], np.float32), [1.5, -0.0, np.inf]),
    ("String", ["", "naïve ☃", "a\0b\t\n\\'"], ["", "naïve ☃", "a\0b\t\n\\'"]),
    ("String", [b"\xff\xfe", b"plain", b""], [b"\xff\xfe", "plain", ""]),
    ("LowCardinality(String)", ["", "x", "☃"], ["", "x", "☃"]),
    ("LowCardinality(String)", (np.array([1, 0, 1]), ["a", "b"]), ["b", "a", "b"]),
    ("Nullable(Float64)", np.array([np.nan, -0.0, 1.0]), [None, -0.0, 1.0]),
    ("Nullable(String)", [None, "", "x"], [None, "", "x"]),
    ("DateTime", np.array([0, 1, 2**32 - 1]), [0, 1, 2**32 - 1]),
    ("Date", [0, 1, 2**16 - 1], [0, 1, 2**16 - 1]),
    ("Array(Float64)", [[1.5, -0.0], [], [np.inf]], [[1.5, -0.0], [], [np.inf]]),
]  # fmt: skip
SINCE_THEN: list[tuple[str, Column, list[Any]]] = [
    ("Bool", np.array([True, False, True]), [True, False, True]),
    ("Bool", np.array([False, False, True]), [False, False, True]),
    ("DateTime64(9, 'UTC')", np.array([0, 1, 1704164645123456789]), [0, 1, 1704164645123456789]),
    ("DateTime64(9, 'UTC')", np.array(["2024-01-02T03:04:05.123456789"] * 3, "M8[ns]"), [1704164645123456789] * 3),
    ("DateTime64(3, 'UTC')", np.array([0, 1, 1704164645123]), [0, 1, 1704164645123]),
    ("Array(String)", [["a"], [], ["b", "c"]], [["a"], [], ["b", "c"]]),
    ("Float64", np.array([0.0, 0.0, 2.5]), [0.0, 0.0, 2.5]),
]


@COMPRESSION
@pytest.mark.parametrize(
    ("way", "type_", "values", "expected"),
    [
        pytest.param(*way.values, *case, marks=way.marks)
        for way, cases in ((HTTP, EVERYWHERE + SINCE_THEN), (NATIVE, EVERYWHERE + SINCE_THEN), (DEBIAN, EVERYWHERE))
        for case in cases
    ],
)
def test_what_is_written_is_read_back(database: Database, type_: str, values: Column, expected: list[Any]) -> None:
    table = make_table(database, f"v {type_}")
    assert database.insert(table.name, {"i": np.arange(3), "v": values}) == 3
    result = database.rows(f"SELECT v, i FROM {table.name} ORDER BY i")
    assert (result.names, result.types) == (["v", "i"], [type_, "UInt32"])
    assert repr(result.column("v")) == repr(expected)  # repr tells -0.0 from 0.0 and True from 1
    read = database.arrays(f"SELECT v, i FROM {table.name} ORDER BY i")
    assert plain(read["v"], type_) == repr(expected)


@EVERY
def test_floats_keep_every_bit(database: Database) -> None:
    patterns = np.random.default_rng(7).integers(0, 2**64 - 1, 5_000, np.uint64, endpoint=True)
    special = np.array(
        [0, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0xFFF8 << 48, 0x7FF8_0000_0000_0123, 1], np.uint64
    )
    values = np.concatenate([special, patterns]).view(np.float64)
    table = make_table(database, "v Float64")
    database.insert(table.name, {"i": np.arange(len(values)), "v": values})
    (stored,) = database.rows(
        f"SELECT sum(reinterpretAsUInt64(reinterpretAsString(v)) % 1000003) FROM {table.name}"
    ).rows
    assert stored == (sum(int(bits) % 1000003 for bits in values.view(np.uint64)),)
    assert bits(database.rows(f"SELECT v FROM {table.name} ORDER BY i").column("v")) == values.tobytes()


@EVERY
def test_a_result_of_many_blocks_comes_whole_and_in_order(database: Database) -> None:
    result = database.rows("SELECT number, toString(number) AS text FROM system.numbers LIMIT 200000")
    assert result.column("number") == list(range(200_000))
    assert result.rows[-1] == (199_999, "199999")


@EVERY
def test_arrays_of_many_blocks_come_whole_and_in_order_with_one_dictionary(database: Database) -> None:
    table = make_table(database, "v LowCardinality(String)")
    words = [f"w{n % 700}" for n in range(100_000)]
    database.insert(table.name, {"i": np.arange(50_000), "v": words[:50_000]})
    database.insert(table.name, {"i": np.arange(50_000, 100_000), "v": words[50_000:]})
    read = database.arrays(f"SELECT i, v FROM {table.name} ORDER BY i")
    codes, known = read["v"]
    assert np.array_equal(np.asarray(read["i"]), np.arange(100_000))
    assert [known[code] for code in codes.tolist()] == words
    assert database.arrays(f"SELECT i, v FROM {table.name} WHERE i < 0") == {}


@EVERY
def test_a_result_without_rows_still_has_its_columns(database: Database) -> None:
    result = database.rows("SELECT 1 AS a, 'x' AS b WHERE 0;  ")
    assert (result.names, result.types, result.rows) == (["a", "b"], ["UInt8", "String"], [])


@EVERY
def test_no_rows_are_no_insert(database: Database) -> None:
    table = make_table(database, "v Float64")
    assert database.insert(table.name, {"i": np.array([], np.int64), "v": np.array([])}) == 0
    assert table.rows() == []


@EVERY
def test_columns_may_come_in_any_order_and_those_left_out_take_their_default(database: Database) -> None:
    table = make_table(database, "v Float64 DEFAULT 7.5, `odd name.`` x` String")
    database.insert(table.name, {"odd name.` x": ["s"], "i": [3]})
    assert table.rows() == [(3, 7.5, "s")]


@EVERY
def test_a_column_added_later_can_be_written(database: Database) -> None:
    table = make_table(database, "v Float64")
    database.insert(table.name, {"i": [1], "v": [1.0]})
    database.command(f"ALTER TABLE {table.name} ADD COLUMN w Float64")
    database.insert(table.name, {"i": [2], "v": [2.0], "w": [2.5]})
    assert sorted(table.rows("i, w")) == [(1, 0.0), (2, 2.5)]


@CURRENT
def test_a_block_with_a_token_that_was_seen_is_stored_once(database: Database) -> None:
    table = make_table(database, "v Float64", "SETTINGS non_replicated_deduplication_window = 100")
    for token, value in (("0-9", 1.0), ("0-9", 1.0), ("10-19", 1.0), ("0-9", 2.0)):
        database.insert(table.name, {"i": [1], "v": [value]}, token=token)
    assert sorted(table.rows("v")) == [(1.0,), (1.0,)]


@CURRENT
def test_without_a_token_equal_blocks_are_all_stored(database: Database) -> None:
    table = make_table(database, "v Float64", "SETTINGS non_replicated_deduplication_window = 100")
    for _ in range(3):
        database.insert(table.name, {"i": [1], "v": [1.0]})
    assert table.rows("count()") == [(3,)]


@CURRENT
def test_an_insert_is_seen_as_soon_as_it_returns(database: Database) -> None:
    table = make_table(database, "v Float64")
    for count in range(1, 20):
        database.insert(table.name, {"i": [count], "v": [0.0]})
        assert table.rows("count()") == [(count,)]


INJECTION = "'; DROP TABLE t; -- \\ \\' \" \0 \t \n ☃ {x:String}"


@CURRENT
@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("String", INJECTION, INJECTION),
        ("String", "", ""),
        ("String", "\\N", "\\N"),
        ("Array(String)", [INJECTION, "", "it's"], [INJECTION, "", "it's"]),
        ("Int64", -(2**63), -(2**63)),
        ("UInt64", np.uint64(2**64 - 1), 2**64 - 1),
        ("Float64", 0.1, 0.1),
        ("Float64", float("-inf"), float("-inf")),
        ("Float64", -0.0, -0.0),
        ("Bool", True, True),
        ("Array(Float64)", np.array([1.5, -np.inf]), [1.5, float("-inf")]),
        ("Array(Bool)", [True, False], [True, False]),
        ("Array(Array(Int64))", [[1], []], [[1], []]),
        ("Identifier", "x", 5),
    ],
)
def test_parameters_are_filled_in_by_the_server(
    database: Database, type_: str, value: object, expected: object
) -> None:
    (row,) = database.rows(f"SELECT {{given:{type_}}} FROM (SELECT 5 AS x)", {"given": value}).rows
    assert repr(row) == repr((expected,))


@CURRENT
@pytest.mark.parametrize("value", [None, b"x", object(), {"a": 1}, [None]])
def test_a_parameter_without_a_plain_meaning_is_refused(database: Database, value: object) -> None:
    with pytest.raises(DatabaseError, match="parameter given: expected str, int, float, bool"):
        database.rows("SELECT {given:String}", {"given": value})


@CURRENT
def test_every_declared_table_can_be_made_and_written(database: Database) -> None:
    schema = f"d_{uuid.uuid4().hex[:8]}"
    database.command(f"CREATE DATABASE {schema}")
    for table in tables(["vwap_dev_60s", "rsi_14"]):
        database.command(table.ddl(schema))
        columns = {
            name: [""] if type_.endswith("String)") or type_ == "String" else [1] for name, type_ in table.types.items()
        }
        assert database.insert(f"{schema}.{table.name}", columns, token="0-0") == 1
        assert database.rows(f"SELECT count() FROM {schema}.{table.name}").rows == [(1,)]
    database.command(f"DROP DATABASE {schema}")
