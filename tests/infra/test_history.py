"""The API's history over a real ClickHouse: every listing, in pages and as files, against the rows that were written."""

import io
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from api.cursor import Place
from api.listings import BY_NAME, LISTINGS, Listing, Stretch
from infra.clickhouse import Database, connect
from infra.embedded.services import Embedded
from infra.history import ClickHouseHistory
from infra.served import ClickHouseServed
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from schemas.tables import tables

pytestmark = pytest.mark.embedded
START = 1_795_357_800_000_000_000
ROWS = 23
ALL = pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.name)
TABLES = {table.name: table for table in tables(FEATURE_NAMES)}
REVISED = 7
"""A bar of each symbol is written twice, and another one has lost all its trades."""
EMPTY = 9
SWEPT = (4, 5, 9)
"""Offsets of three trades at one stamp, each of which fills a bar."""


@dataclass
class Written:
    """A database with rows of two symbols in every table."""

    database: Database
    name: str
    rows: dict[str, list[dict[str, Any]]]

    @property
    def history(self) -> ClickHouseHistory:
        return ClickHouseHistory(self.database, self.name)

    def expected(self, listing: Listing, symbol: str = "S0") -> list[dict[str, Any]]:
        """By what the port says of it."""
        found = [row for row in self.rows[listing.name] if row["symbol"] == symbol]
        if listing.name == "bars":
            newest = {row["start"]: row for row in sorted(found, key=lambda row: row["rev"])}
            found = [row for row in newest.values() if row["n_trades"]]
        place = [(row[listing.time], *(row[name] for name in listing.key)) for row in found]
        return [found[at] for at in sorted(range(len(found)), key=place.__getitem__)]


def rows_of(table: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Some of them at one time; every third number that may be missing is."""
    types, made = TABLES[table].types, []
    for number in range(2 * ROWS):
        row = {name: _value(name, type_, number, rng) for name, type_ in types.items()}
        row |= {"symbol": f"S{number % 2}", "log_id": "log-1", "src_partition": number % 2, "src_offset": number // 2}
        row |= {name: START + number // 6 for name in ("ts_event", "ts_ingest") if name in row}
        if table == "bars":
            row |= {
                "kind": "1m",
                "start": START + number // 2 * 60,
                "rev": 0,
                "n_trades": 0 if number // 2 == EMPTY else 3,
            }
        made.append(row)
    if table == "bars":
        made += [row | {"rev": 1, "src_offset": 1_000, "close": -1.5} for row in made[2 * REVISED : 2 * REVISED + 2]]
        made += [
            made[0] | {"symbol": "S2", "kind": "volume10000", "src_offset": offset, "close": float(offset)}
            for offset in SWEPT
        ]
    return made


def _value(name: str, type_: str, number: int, rng: np.random.Generator) -> Any:
    if name == "ts_broker":
        return START // 1_000_000
    if type_.startswith("DateTime64"):
        return START + number
    if "String" in type_:
        return f'{name}, "{number % 3}" ü'
    if "Float" in type_:
        return float("nan") if number % 3 == 0 and type_ != "Float64" else float(rng.normal())
    return bool(number % 2) if type_ == "Bool" else int(rng.integers(0, 200))


@pytest.fixture(scope="module")
def written(embedded: Embedded) -> Iterator[Written]:
    name, rng = f"t_{uuid.uuid4().hex[:12]}", np.random.default_rng(20131007)
    with closing(connect(embedded.clickhouse_url)) as database:
        create_tables(database, name, FEATURE_NAMES)
        rows = {listing.name: rows_of(listing.name, rng) for listing in LISTINGS}
        for table, made in rows.items():
            database.insert(f"{name}.{table}", {column: [row[column] for row in made] for column in made[0]})
        yield Written(database, name, rows)
        database.command(f"DROP DATABASE `{name}`")


def whole(limit: int = 1_000, after: Place | None = None, **more: Any) -> Stretch:
    return Stretch(START - 1, START + 10**9, limit, after, **more)


def read(written: Written, listing: Listing, stretch: Stretch, symbol: str = "S0") -> list[dict[str, Any]]:
    names, rows = written.history.rows(listing, symbol, stretch)
    return [dict(zip(names, row, strict=True)) for row in rows]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]], listing: Listing) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(listing.types)
        for name, value in one.items():
            wanted = other[name]
            missing = isinstance(wanted, float) and wanted != wanted  # noqa: PLR0124
            assert (value is None or value != value) if missing else value == wanted, name  # noqa: PLR0124


@ALL
def test_all_rows_of_a_symbol_come_in_their_order(written: Written, listing: Listing) -> None:
    expected = written.expected(listing)
    assert len(expected) == (ROWS - 1 if listing.name == "bars" else ROWS)
    same(read(written, listing, whole()), expected, listing)


@ALL
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_join_to_the_whole_also_where_rows_share_their_time(
    written: Written, listing: Listing, limit: int
) -> None:
    joined: list[dict[str, Any]] = []
    after: Place | None = None
    while page := read(written, listing, whole(limit, after)):
        assert len(page) <= limit
        joined += page
        after = (page[-1][listing.time], *(page[-1][name] for name in listing.key))
    same(joined, written.expected(listing), listing)


@ALL
def test_the_start_is_inside_and_the_end_is_outside(written: Written, listing: Listing) -> None:
    expected = written.expected(listing)
    times = sorted({row[listing.time] for row in expected})
    start, end = times[1], times[-1]
    inside = [row for row in expected if start <= row[listing.time] < end]
    same(read(written, listing, Stretch(start, end, 1_000)), inside, listing)


@ALL
@pytest.mark.parametrize("kind", ["csv", "arrow", "parquet"])
def test_a_file_has_the_same_rows_page_by_page(written: Written, listing: Listing, kind: Any) -> None:
    parts: list[pa.Table] = []
    after: Place | None = None
    while not parts or after is not None:
        file = written.history.file(listing, "S0", whole(10, after), kind)
        parts.append(opened(file.body, kind))
        assert parts[-1].num_rows == file.rows
        after = file.place
    found = pa.concat_tables(parts) if kind != "csv" else None
    same_as = written.expected(listing)
    assert sum(part.num_rows for part in parts) == len(same_as)
    if found is None:  # CSV has no types; the readers' guesses differ by page
        offsets = [value for part in parts for value in part.column("src_offset").to_pylist()]
        assert offsets == [row["src_offset"] for row in same_as]
        return
    assert found.schema.field(listing.time).type == pa.timestamp("ns", "UTC")
    columns = {name: found.column(name) for name in listing.types}
    rows = [
        {
            name: column[at].value if pa.types.is_timestamp(column.type) else column[at].as_py()
            for name, column in columns.items()
        }
        for at in range(found.num_rows)
    ]
    same(rows, same_as, listing)


def opened(body: bytes, kind: str) -> pa.Table:
    if kind == "csv":
        return csv.read_csv(io.BytesIO(body))
    return parquet.read_table(io.BytesIO(body)) if kind == "parquet" else pa.ipc.open_stream(body).read_all()


@ALL
def test_a_symbol_without_rows_has_empty_pages_and_files_with_columns(written: Written, listing: Listing) -> None:
    assert read(written, listing, whole(), "NONE") == []
    file = written.history.file(listing, "NONE", whole(), "arrow")
    assert (file.rows, file.place) == (0, None)
    assert opened(file.body, "arrow").column_names == list(listing.types)


def test_values_are_never_part_of_the_statement(written: Written) -> None:
    hostile = "S0' OR 1=1 --"
    assert read(written, BY_NAME["trades"], whole(), hostile) == []
    assert read(written, BY_NAME["bars"], whole(equal={"kind": hostile})) == []
    assert read(written, BY_NAME["trades"], whole(after=(START, hostile, 0, 0))) is not None


def test_only_the_columns_and_the_values_that_are_asked_for(written: Written) -> None:
    (name, *_) = FEATURE_NAMES
    found = read(written, BY_NAME["features"], whole(columns=("ts_event", name)))
    assert {tuple(row) for row in found} == {("ts_event", name)}
    outcomes = BY_NAME["outcomes"]
    horizon = written.expected(outcomes)[0]["horizon_ns"]
    chosen = read(written, outcomes, whole(equal={"horizon_ns": horizon}))
    same(chosen, [row for row in written.expected(outcomes) if row["horizon_ns"] == horizon], outcomes)


def test_the_newest_revision_of_a_bar_is_shown_and_one_without_trades_is_not(written: Written) -> None:
    found = {row["start"]: row for row in read(written, BY_NAME["bars"], whole(equal={"kind": "1m"}))}
    assert (found[START + REVISED * 60]["rev"], found[START + REVISED * 60]["close"]) == (1, -1.5)
    assert START + EMPTY * 60 not in found


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_bars_that_one_stamp_fills_are_all_there(written: Written, limit: int) -> None:
    listing, joined = BY_NAME["bars"], list[float]()
    after: Place | None = None
    while page := read(written, listing, whole(limit, after, equal={"kind": "volume10000"}), "S2"):
        joined += [row["close"] for row in page]
        after = (page[-1]["start"], *(page[-1][name] for name in listing.key))
    assert joined == list(map(float, SWEPT))


def test_the_view_of_the_newest_shows_them_all_and_nothing_is_amiss_with_it(written: Written) -> None:
    found = written.database.rows(
        f"SELECT close FROM `{written.name}`.bars_latest WHERE kind = 'volume10000' ORDER BY close"
    )
    assert [close for (close,) in found.rows] == list(map(float, SWEPT))
    assert ClickHouseServed(written.database, written.name, "log-1", TABLES).not_newest() == []
