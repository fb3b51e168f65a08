"""The API's `History` over ClickHouse."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from api.cursor import Place
from api.listings import Listing, Stretch
from api.media import FileKind
from api.ports import HistoryFile
from infra.clickhouse import Database, quoted_column
from infra.native_format import Column
from infra.sql.files import written
from schemas.tables import BARS
from schemas.views import CLOSED_BY

_TIME: Final = "fromUnixTimestamp64Nano({{{name}:Int64}})"


class ClickHouseHistory:
    """Reads what was written for good."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name

    def rows(self, listing: Listing, symbol: str, stretch: Stretch) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
        """A page, row by row."""
        found = self._database.rows(*self._asked(listing, symbol, stretch))
        return stretch.columns or list(listing.types), found.rows

    def file(self, listing: Listing, symbol: str, stretch: Stretch, kind: FileKind) -> HistoryFile:
        """A page as a file; numbers that are missing are null, times have their zone."""
        more = replace(stretch, limit=stretch.limit + 1)
        names = stretch.columns or list(listing.types)
        columns = self._database.arrays(*self._asked(listing, symbol, more))
        table = pa.table({name: _arrow(columns.get(name), listing.types[name]) for name in names})
        kept = table.slice(0, stretch.limit)
        place = _place(listing, kept) if table.num_rows > stretch.limit else None
        return HistoryFile(written(kept, kind), kept.num_rows, place)

    def ping(self) -> None:
        """Return if the database answers."""
        self._database.rows("SELECT 1")

    def _asked(self, listing: Listing, symbol: str, stretch: Stretch) -> tuple[str, Mapping[str, object]]:
        """The statement and its parameters. Columns are ours; every value is filled in by the database."""
        time, names = quoted_column(listing.time), stretch.columns or tuple(listing.types)
        since = stretch.start if stretch.after is None else max(stretch.start, int(stretch.after[0]))
        parameters: dict[str, object] = {"symbol": symbol, "since": since, "end": stretch.end, "limit": stretch.limit}
        wanted = [
            "symbol = {symbol:String}", f"{time} >= {_TIME.format(name='since')}", f"{time} < {_TIME.format(name='end')}",
        ]  # fmt: skip
        for name, value in stretch.equal.items():
            parameters[f"equal_{name}"] = value
            wanted.append(f"{quoted_column(name)} = {{equal_{name}:{'String' if isinstance(value, str) else 'Int64'}}}")
        if stretch.after is not None:
            behind, more = _behind(listing, stretch.after)
            wanted.append(behind)
            parameters |= more
        order = ", ".join(map(quoted_column, (listing.time, *listing.key)))
        columns = ", ".join(map(quoted_column, names))
        source = self._newest_bars(wanted) if listing.name == BARS.name else self._source(listing, wanted)
        return f"SELECT {columns} FROM {source} ORDER BY {order} LIMIT {{limit:UInt32}}", parameters  # noqa: S608

    def _source(self, listing: Listing, wanted: Sequence[str]) -> str:
        return f"`{self._name}`.{listing.name} FINAL WHERE {' AND '.join(wanted)}"

    def _newest_bars(self, wanted: Sequence[str]) -> str:
        """The newest revision of each bar that holds a trade."""
        return (
            f"(SELECT * FROM `{self._name}`.bars FINAL WHERE {' AND '.join(wanted)} "  # noqa: S608
            f"ORDER BY start, rev DESC LIMIT 1 BY start, {CLOSED_BY}) WHERE n_trades > 0"
        )


def _behind(listing: Listing, after: Place) -> tuple[str, Mapping[str, object]]:
    """The rows strictly behind a place, and what the statement's parameters are."""
    names = (listing.time, *listing.key)
    types = ["Int64" if isinstance(part, int) else "String" for part in after]
    values = [_TIME.format(name="after_0"), *(f"{{after_{n}:{types[n]}}}" for n in range(1, len(after)))]
    told = f"({', '.join(map(quoted_column, names))}) > ({', '.join(values)})"
    return told, {f"after_{number}": part for number, part in enumerate(after)}


def _arrow(column: Column | None, type_: str) -> pa.Array:
    """A column as Arrow has it; none where the page is empty."""
    wanted = _arrow_type(type_)
    if column is None:
        return pa.array([], wanted)
    if isinstance(column, tuple):
        codes, words = column
        return pa.array(words, pa.string()).take(pa.array(codes)) if words else pa.array([], wanted)
    return pa.array(column, wanted, from_pandas=wanted == pa.float64())


def _arrow_type(type_: str) -> pa.DataType:
    if type_.startswith("DateTime64(9"):
        return pa.timestamp("ns", "UTC")
    if "String" in type_:
        return pa.string()
    if "Float64" in type_:
        return pa.float64()
    return pa.bool_() if type_ == "Bool" else pa.type_for_alias(type_.lower())


def _place(listing: Listing, kept: pa.Table) -> Place:
    """Of the last row."""
    last = kept.num_rows - 1
    time = kept.column(listing.time)[last].value
    return (time, *(kept.column(name)[last].as_py() for name in listing.key))
