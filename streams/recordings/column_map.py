"""The declaration of which column of a table is what."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.errors import InputError
from streams.recordings.zones import zone

DELIMITERS: Final = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "space": " "}
COLUMNS: Final = (
    "ts", "symbol", "venue_column", "price", "size", "bid", "bid_size", "ask", "ask_size", "side", "seq", "trade_id",
)  # fmt: skip
"""Fields of `ColumnMap` that name a column."""
NEEDED: Final = frozenset({"kind", "ts"})


class ColumnMap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of columns (numbers from 1 where `header` is false), and what is the same in every row.

    A map of trades needs `price`, one of quotes `bid` and `ask`; either needs `ts`, a symbol and a venue.
    """

    kind: Literal["trade", "quote"]
    ts: str
    ts_unit: Literal["iso", "s", "ms", "us", "ns"] = "iso"
    tz: str = "UTC"
    """Of stamps that carry no offset; epoch stamps are UTC anyway."""
    symbol: str = ""
    symbol_name: Annotated[str, Meta(max_length=32)] = ""
    """The symbol of every row, where no column has it."""
    venue: Annotated[str, Meta(max_length=16)] = ""
    """The venue of every row."""
    venue_column: str = ""
    price: str = ""
    size: str = ""
    """Where there is none, every trade has size 1."""
    bid: str = ""
    bid_size: str = ""
    """Where there is none, sizes are 0."""
    ask: str = ""
    ask_size: str = ""
    side: str = ""
    """Who took: buy or sell and their usual short forms, if `side_buy` and `side_sell` do not say otherwise."""
    side_buy: str = ""
    """What the column of sides says where a buyer took: `False` in one of whether the buyer was the maker."""
    side_sell: str = ""
    seq: str = ""
    """Where there is none, the time numbers the rows: a row gets its ns, or one more than the row before, over all files of
    one play. Files that share a stamp of a symbol belong into one play, else the second repeats numbers of the first."""
    trade_id: str = ""
    header: bool = True
    delimiter: Literal["comma", "tab", "semicolon", "pipe", "space"] = "comma"

    def columns(self) -> dict[str, str]:
        """Field to column, of those that are declared."""
        return {name: column for name in COLUMNS if (column := getattr(self, name))}


def column_map(text: str) -> ColumnMap:
    """`ts=time,price=px,…`, or the path of a TOML file with the same keys.

    Raises: `InputError` for an unknown key, a wrong value, or a map from which no event can be made.
    """
    entries = _toml(Path(text)) if text.endswith(".toml") else dict(_pair(part) for part in text.split(","))
    for key in entries:
        if key not in ColumnMap.__struct_fields__:
            close = difflib.get_close_matches(key, ColumnMap.__struct_fields__, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; keys are {', '.join(ColumnMap.__struct_fields__)}"
            raise InputError(f"column map: {key!r} is no key of it{hint}")
    if not entries.keys() >= NEEDED:
        raise InputError(
            f"column map: {text} lacks {' and '.join(sorted(NEEDED - entries.keys()))}; expected at least "
            "kind=trade,ts=COLUMN,price=COLUMN or kind=quote,ts=COLUMN,bid=COLUMN,ask=COLUMN, a symbol and a venue"
        )
    try:
        mapping = msgspec.convert(entries, ColumnMap, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"column map: {error}") from error
    _check(mapping)
    return mapping


def _pair(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals or not value.strip():
        raise InputError(f"column map: expected key=value, found {part!r}")
    return key.strip(), value.strip()


def _toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a column map in TOML: {error}") from error


def _check(mapping: ColumnMap) -> None:
    zone(mapping.tz)
    wanted = ("price",) if mapping.kind == "trade" else ("bid", "ask")
    missing = [name for name in wanted if not getattr(mapping, name)]
    if missing:
        raise InputError(f"column map: a map of {mapping.kind}s needs {' and '.join(missing)}")
    if bool(mapping.symbol) == bool(mapping.symbol_name):
        raise InputError("column map: give one of symbol (a column) and symbol_name (the same for every row)")
    if bool(mapping.venue) == bool(mapping.venue_column):
        raise InputError("column map: give one of venue (the same for every row) and venue_column")
    if bool(mapping.side_buy) != bool(mapping.side_sell) or (mapping.side_buy and not mapping.side):
        raise InputError("column map: side_buy and side_sell go together, and with side")
    if not mapping.header and (bad := [name for name in mapping.columns().values() if not _is_position(name)]):
        raise InputError(f"column map: without a header, columns are numbers from 1, found {bad[0]!r}")


def _is_position(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) >= 1
