"""Any CSV or Parquet file as trades or quotes, by a declared map of its columns."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError
from schemas.events import MAX_NS, MAX_PRICE, MAX_SEQ, Quote, Trade
from streams.recordings.cells import FACTORS, clock_of, number, sides, text_of, utc_of_wall, whole
from streams.recordings.column_map import DELIMITERS, ColumnMap
from streams.recordings.lines import LineFile
from streams.recordings.recording import Recorded, letter
from streams.recordings.zones import NS

MAX_SIZE: Final = 1e15
BATCH: Final = 8_192
FIRST_EPOCH: Final = round(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * NS
"""No recorded tick is older: a smaller count of time units is one of other units."""


class RowMaker:
    """Makes an event of each row; remembers the last number it gave per venue and symbol."""

    def __init__(self, mapping: ColumnMap, stamp: Callable[[Any], int]) -> None:
        self.mapping = mapping
        self.stamp = stamp
        self._last: dict[tuple[str, str], int] = {}
        self._side = sides(mapping.side_buy, mapping.side_sell)

    def make(self, row: Mapping[str, Any]) -> Trade | Quote:
        """`row`: field of the map to cell. Raises: `ValueError` with the column and what is wrong."""
        mapping = self.mapping
        at = self.stamp(row["ts"])
        if not 0 <= at <= MAX_NS:
            raise ValueError(f"{mapping.ts}: expected a time from 1970 to 2100, found {str(row['ts'])[:40]!r}")
        symbol = _name(row.get("symbol", mapping.symbol_name), 32)
        venue = _name(row.get("venue_column", mapping.venue), 16)
        seq = self._seq(venue, symbol, at, row)
        if mapping.kind == "quote":
            return Quote(
                symbol=symbol, venue=venue, seq=seq, ts_event=at, ts_ingest=0, bid=_price(row["bid"], "bid"),
                bid_size=_size(row.get("bid_size", 0.0), least=0.0), ask=_price(row["ask"], "ask"),
                ask_size=_size(row.get("ask_size", 0.0), least=0.0),
            )  # fmt: skip
        return Trade(
            symbol=symbol, venue=venue, seq=seq, ts_event=at, ts_ingest=0, price=_price(row["price"], "price"),
            size=_size(row.get("size", 1.0), least=5e-324), side=self._side(row.get("side")),
            trade_id=text_of(row.get("trade_id"))[:64],
        )  # fmt: skip

    def _seq(self, venue: str, symbol: str, at: int, row: Mapping[str, Any]) -> int:
        if "seq" in row:
            seq = whole(text_of(row["seq"]))
            if seq > MAX_SEQ:
                raise ValueError(f"expected a sequence number up to {MAX_SEQ}, found {seq}")
            return seq
        seq = max(at, self._last.get((venue, symbol), -1) + 1)
        self._last[venue, symbol] = seq
        return seq


class MappedCsv:
    """A CSV, plain or packed, with or without a header."""

    first_ns = 0

    def __init__(self, file: LineFile, mapping: ColumnMap) -> None:
        self.file = file
        self.mapping = mapping
        self.numbered_by_time = not mapping.seq
        self.name = file.name
        self.symbols = _symbols(mapping)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.file.size

    @property
    def position(self) -> int:
        """Bytes of these read so far."""
        return self.file.position

    def items(self) -> Iterator[Recorded]:
        """Events and dead letters in file order. Raises: `InputError` where the header lacks a declared column."""
        maker = RowMaker(self.mapping, _clock(self.mapping))
        places: dict[str, int] | None = None
        width = 0
        for number_, line in enumerate(self.file.lines(), 1):
            if not line.strip():
                continue
            try:
                cells = self._split(line)
                if places is None:
                    places, width = self._places(number_, cells), len(cells)
                    if self.mapping.header:
                        continue
                if len(cells) != width:
                    raise ValueError(f"expected {width} columns, found {len(cells)}")
                yield maker.make({field: cells[place] for field, place in places.items()})
            except UnicodeDecodeError as error:
                yield letter(self.name, number_, "undecodable", f"expected UTF-8: {error}", line)
            except (ValueError, csv.Error) as error:
                yield letter(self.name, number_, "invalid_value", str(error), line)

    def _split(self, line: bytes) -> list[str]:
        text = line.decode("utf-8-sig").rstrip("\r")
        delimiter = DELIMITERS[self.mapping.delimiter]
        return next(csv.reader([text], delimiter=delimiter)) if '"' in text else text.split(delimiter)

    def _places(self, line: int, cells: Sequence[str]) -> dict[str, int]:
        names = [cell.strip() for cell in cells] if self.mapping.header else [str(i + 1) for i in range(len(cells))]
        declared = self.mapping.columns()
        _require(f"{self.file.path}:{line}", declared, names)
        return {field: names.index(column) for field, column in declared.items()}


class MappedParquet:
    """A Parquet file; rows count from 1."""

    first_ns = 0

    def __init__(self, file: LineFile, mapping: ColumnMap) -> None:
        self.path = file.path
        self.mapping = mapping
        self.numbered_by_time = not mapping.seq
        self.name = file.name
        self.symbols = _symbols(mapping)
        self.size = file.size
        self.position = 0

    def items(self) -> Iterator[Recorded]:
        """Events and dead letters in file order. Raises: `InputError` for a damaged file or a missing column."""
        declared = self.mapping.columns()
        row = 0
        try:
            with pq.ParquetFile(self.path) as file:
                _require(str(self.path), declared, file.schema_arrow.names)
                maker = RowMaker(self.mapping, self._stamp(file.schema_arrow.field(self.mapping.ts).type))
                for batch in file.iter_batches(batch_size=BATCH, columns=list(dict.fromkeys(declared.values()))):
                    columns = [_plain(batch.column(column)) for column in declared.values()]
                    for cells in zip(*columns, strict=True):
                        row += 1
                        yield self._item(maker, row, dict(zip(declared, cells, strict=True)))
                    self.position = self.size * row // max(file.metadata.num_rows, 1)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path}:{row + 1}: expected Parquet, found a damaged file: {error}") from error

    def _item(self, maker: RowMaker, number_: int, row: Mapping[str, Any]) -> Recorded:
        try:
            return maker.make(row)
        except ValueError as error:
            raw = msgspec.json.encode(row, enc_hook=str)
            return letter(self.name, number_, "invalid_value", str(error), raw)

    def _stamp(self, type_: Any) -> Callable[[Any], int]:
        if not pa.types.is_timestamp(type_):
            return _clock(self.mapping)
        utc = int if type_.tz is not None else utc_of_wall(self.mapping.tz)
        factor = FACTORS[type_.unit]

        def stamp(cell: Any) -> int:
            at = whole(cell) * factor
            return utc(at) if at <= MAX_NS else at

        return stamp


def _clock(mapping: ColumnMap) -> Callable[[Any], int]:
    """Of the declared unit; it refuses what only another unit makes a time of."""
    stamp, unit = clock_of(mapping.ts_unit, mapping.tz), mapping.ts_unit
    if unit == "iso":
        return stamp

    def epoch(cell: Any) -> int:
        at = stamp(cell)
        if 0 <= at < FIRST_EPOCH:
            day = datetime.fromtimestamp(at // NS, UTC).date()
            raise ValueError(
                f"{mapping.ts}: expected a time from 1990 on, found {str(cell)[:40]!r}, with ts_unit={unit} a moment of "
                f"{day}; is that the unit?"
            )
        return at

    return epoch


def _plain(column: Any) -> list[Any]:
    """Cells as Python values; timestamps as a count of their unit, which may be more than ns can hold."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    cells: list[Any] = column.to_pylist()
    return cells


def _symbols(mapping: ColumnMap) -> frozenset[str] | None:
    return frozenset((mapping.symbol_name,)) if mapping.symbol_name else None


def _require(where: str, declared: Mapping[str, str], found: Sequence[str]) -> None:
    for field, column in declared.items():
        if column not in found:
            raise InputError(f"{where}: expected column {column!r} for {field}, found {', '.join(found)[:300]}")


def _name(cell: Any, longest: int) -> str:
    text = text_of(cell).strip()
    if not 1 <= len(text) <= longest:
        raise ValueError(f"expected a name of 1 to {longest} characters, found {text[:40]!r}")
    return text


def _price(cell: Any, field: str) -> float:
    value = number(cell)
    if not 0 < value <= MAX_PRICE:
        raise ValueError(f"expected a {field} above 0, found {value}")
    return value


def _size(cell: Any, *, least: float) -> float:
    value = number(cell)
    if not least <= value <= MAX_SIZE:
        raise ValueError(f"expected a size {'above' if least else 'of at least'} 0, found {value}")
    return value
