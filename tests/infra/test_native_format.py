"""Columns to bytes and back: against the engine's own output, and every value against itself."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.native_format import NUMBERS, Column, encode_block
from infra.native_reader import read_blocks
from schemas.errors import DatabaseError

# SELECT … FORMAT Native of these two rows by ClickHouse 26.9.
BY_THE_ENGINE = bytes.fromhex(
    "09020275380555496e7438ff000369363405496e7436340000000000000080ffffffffffffff7f0366363407466c6f617436340000000000000080"
    "000000000000f07f0366333207466c6f617433320000c03f0000c07f017306537472696e6700066e61c3af7665016204426f6f6c01000174144461"
    "746554696d65363428392c2027555443272915ff5c37b768a6170000000000000000016e114e756c6c61626c6528466c6f61743634290100000000"
    "0000000000000000000000044001610d41727261792855496e743136290200000000000000020000000000000001000200"
)
TYPES = {
    "u8": "UInt8", "i64": "Int64", "f64": "Float64", "f32": "Float32", "s": "String", "b": "Bool",
    "t": "DateTime64(9, 'UTC')", "n": "Nullable(Float64)", "a": "Array(UInt16)",
}  # fmt: skip
COLUMNS: dict[str, Column] = {
    "u8": np.array([255, 0]),
    "i64": np.array([-(2**63), 2**63 - 1]),
    "f64": np.array([-0.0, np.inf]),
    "f32": np.array([1.5, np.nan]),
    "s": ["", "naïve"],
    "b": np.array([True, False]),
    "t": np.array([1704164645123456789, 0]),
    "n": np.array([np.nan, 2.5]),
    "a": [[1, 2], []],
}


def bits(values: Sequence[float], size: str = "d") -> bytes:
    return struct.pack(f"<{len(values)}{size}", *values)


def round_trip(type_: str, values: Column) -> list[Any]:
    (block,) = read_blocks(io.BytesIO(encode_block({"x": values}, {"x": type_})))
    assert (block.names, block.types) == (["x"], [type_])
    return block.columns[0]


def test_a_block_has_the_bytes_that_the_engine_writes() -> None:
    assert encode_block(COLUMNS, TYPES) == BY_THE_ENGINE


def test_the_engines_bytes_are_read_as_the_values_they_stand_for() -> None:
    (block,) = read_blocks(io.BytesIO(BY_THE_ENGINE))
    assert (block.names, block.types) == (list(TYPES), list(TYPES.values()))
    u8, i64, f64, f32, s, b, t, n, a = block.columns
    assert (u8, i64, s, b) == ([255, 0], [-(2**63), 2**63 - 1], ["", "naïve"], [True, False])
    assert (t, n, a) == ([1704164645123456789, 0], [None, 2.5], [[1, 2], []])
    assert bits(f64) == bits([-0.0, np.inf])
    assert bits(f32) == bits([1.5, np.nan])


@given(st.data(), st.sampled_from([name for name in NUMBERS if "Int" in name]))
def test_every_integer_of_a_type_survives(data: st.DataObject, type_: str) -> None:
    limits = np.iinfo(NUMBERS[type_])
    values = data.draw(st.lists(st.integers(int(limits.min), int(limits.max)), min_size=1))
    assert round_trip(type_, np.array(values, NUMBERS[type_])) == values


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_every_bit_pattern_of_a_float_survives(patterns: list[int]) -> None:
    values = np.array(patterns, "<u8").view("<f8")
    body = encode_block({"x": values}, {"x": "Float64"})
    assert body.endswith(values.tobytes())


@given(st.lists(st.text(), min_size=1, max_size=80))
def test_every_text_survives_long_or_short_alone_or_among_many(values: list[str]) -> None:
    assert round_trip("String", values) == values
    assert round_trip("String", [*values, *["ascii"] * 40]) == [*values, *["ascii"] * 40]
    assert round_trip("LowCardinality(String)", values) == values


@given(st.lists(st.binary(), min_size=1, max_size=50))
def test_bytes_survive_whether_they_are_text_or_not(values: list[bytes]) -> None:
    read = round_trip("String", values)
    assert [each.encode() if isinstance(each, str) else each for each in read] == values


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 70_000])
def test_the_length_of_a_text_may_take_several_bytes(length: int) -> None:
    values = ["x" * length, "", "é"] * 12
    assert round_trip("String", values) == values
    assert round_trip("String", ["x" * length] * 40) == ["x" * length] * 40


@pytest.mark.parametrize("words", [1, 2, 255, 256, 257, 65_536, 65_537])
def test_codes_mean_their_words_however_many_there_are(words: int) -> None:
    dictionary = [f"w{i}" for i in range(words)]
    codes = np.arange(words - 1, -1, -1)
    assert round_trip("LowCardinality(String)", (codes, dictionary)) == dictionary[::-1]


def test_words_that_no_row_has_are_not_sent_with_few_rows() -> None:
    dictionary = [f"word-{i}" for i in range(5_000)]
    body = encode_block({"x": (np.array([4_999, 7, 4_999]), dictionary)}, {"x": "LowCardinality(String)"})
    assert len(body) < 200
    (block,) = read_blocks(io.BytesIO(body))
    assert block.columns == [["word-4999", "word-7", "word-4999"]]


def test_nan_in_an_array_none_in_a_list_and_a_masked_entry_are_null() -> None:
    assert round_trip("Nullable(Float64)", np.array([1.0, np.nan])) == [1.0, None]
    assert round_trip("Nullable(Float64)", [1.0, None, -0.0]) == [1.0, None, -0.0]
    assert round_trip("Nullable(Int64)", np.ma.masked_array([1, 2], mask=[True, False])) == [None, 2]
    assert round_trip("Nullable(String)", [None, "", None]) == [None, "", None]
    assert round_trip("Nullable(Float64)", [None, None]) == [None, None]


def test_times_are_integers_in_the_unit_of_their_column_or_datetime64() -> None:
    stamp = np.array(["2024-08-08T00:00:00.123456789"], "datetime64[ns]")
    for type_, ticks in {
        "DateTime64(9, 'UTC')": 1723075200123456789, "DateTime64(6)": 1723075200123456, "DateTime64(3, 'UTC')": 1723075200123,
        "DateTime64(0)": 1723075200, "DateTime": 1723075200, "DateTime('UTC')": 1723075200, "Date": 19943, "Date32": 19943,
    }.items():  # fmt: skip
        assert round_trip(type_, stamp) == [ticks] == round_trip(type_, np.array([ticks]))


def test_columns_may_be_strided_views_of_a_matrix() -> None:
    matrix = np.arange(12.0).reshape(4, 3)
    assert round_trip("Float64", matrix[:, 1]) == [1.0, 4.0, 7.0, 10.0]
    assert round_trip("Float64", matrix[::-1, 2]) == [11.0, 8.0, 5.0, 2.0]
    assert round_trip("Nullable(Float64)", matrix[:, 0]) == [0.0, 3.0, 6.0, 9.0]


@pytest.mark.parametrize(
    ("type_", "values", "said"),
    [
        ("UInt8", np.array([256]), "expected 0 to 255, found 256 to 256"),
        ("UInt8", [256], "256 out of bounds for uint8"),
        ("UInt8", ["1"], "cannot be interpreted as an integer"),
        ("UInt64", np.array([-1]), "expected 0 to 18446744073709551615, found -1"),
        ("Int64", np.array([2**63], np.uint64), "found 9223372036854775808"),
        ("Int64", np.array([1.5]), "expected int64, found float64"),
        ("Int64", [1.5], "'float' object cannot be interpreted as an integer"),
        ("Float64", ["1"], "expected float64, found"),
        ("Float64", np.zeros((2, 2)), r"expected one dimension, found shape \(2, 2\)"),
        ("Float64", np.ma.masked_array([1.0], mask=[True]), "needs a Nullable column"),
        ("Bool", [2], "expected false and true, found 2 to 2"),
        ("String", [1], "expected str or bytes, found int"),
        ("String", ["\ud800"], "surrogates"),
        (
            "LowCardinality(String)",
            (np.array([2]), ["a", "b"]),
            "expected codes from 0 to 1, the dictionary's, found 2",
        ),
        ("LowCardinality(String)", (np.array([-1]), ["a", "b"]), "found -1 to -1"),
        ("DateTime64(9)", np.array(["NaT"], "datetime64[ns]"), "NaT"),
        ("DateTime64(9)", ["2024-01-01"], "cannot be interpreted as an integer"),
        ("JSON", [1], "this type is not written here; known are"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_named(type_: str, values: Any, said: str) -> None:
    with pytest.raises(DatabaseError, match=said) as raised:
        encode_block({"x": values}, {"x": type_})
    assert raised.value.code == 53
    assert "column x" in str(raised.value)


def test_columns_of_different_lengths_are_refused_by_name() -> None:
    with pytest.raises(DatabaseError, match="a has 2 rows and b 1"):
        encode_block({"a": [1, 2], "b": (np.array([0]), ["x"])}, {"a": "UInt8", "b": "LowCardinality(String)"})


def test_a_cut_result_is_an_error_at_every_byte() -> None:
    for end in range(1, len(BY_THE_ENGINE)):
        with pytest.raises(DatabaseError, match="the result is cut"):
            list(read_blocks(io.BytesIO(BY_THE_ENGINE[:end])))


def test_a_type_that_is_not_read_here_says_what_to_select_instead() -> None:
    with pytest.raises(DatabaseError, match=r"column d: IntervalDay is not read here; select toString\(d\)"):
        list(read_blocks(io.BytesIO(b"\x01\x01\x01d\x0bIntervalDay" + bytes(8))))
