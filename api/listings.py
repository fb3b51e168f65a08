"""What may be read of the history page by page: which rows, which columns, and what tells two of them apart.

An answer's fields are the columns of the table, by their names, so that REST, SQL and files say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from api.answers import Time
from api.cursor import Place
from processors.features import FEATURE_NAMES
from schemas.tables import (
    BARS,
    CORRECTIONS,
    NEWS_SIGNALS,
    OUTCOMES,
    PREDICTIONS,
    QUOTES,
    SOURCE,
    TRADES,
    features_table,
)

Value: TypeAlias = str | int
ORIGIN: Final = ("log_id", "src_partition", "src_offset")
"""A symbol's events are on one partition of one log: with their time, this is unique."""
_NOT_SHOWN: Final = frozenset({"ts_broker"})


@dataclass(frozen=True)
class Listing:
    """Rows of one symbol, ascending by time."""

    name: str
    """The table of ClickHouse; of bars, the newest revision of each."""
    path: str
    summary: str
    scope: str
    types: Mapping[str, str]
    """Column to ClickHouse type."""
    nullable: frozenset[str] = frozenset()
    """Numbers that may be missing: NaN in the table, null in JSON."""
    time: str = "ts_event"
    key: Sequence[str] = ORIGIN
    """Behind the time, what orders and tells apart."""
    row: type[Struct] = field(init=False)
    page: type[Struct] = field(init=False)

    def __post_init__(self) -> None:
        title = "".join(word.capitalize() for word in self.name.split("_"))
        fields = [(name, _python(type_, name in self.nullable)) for name, type_ in self.types.items()]
        row = msgspec.defstruct(f"{title}Row", fields, kw_only=True, frozen=True)
        row.__doc__ = f"{self.summary}: one of them."
        page = msgspec.defstruct(
            f"{title}Page", [("data", Sequence[row]), ("next_cursor", str | None)], kw_only=True, frozen=True  # type: ignore[valid-type]
        )  # fmt: skip
        page.__doc__ = "A page, ascending; `next_cursor` is null on the last one."
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "page", page)

    def place_types(self) -> Sequence[type]:
        """Of a cursor's parts."""
        return [int, *(int if "Int" in self.types[name] else str for name in self.key)]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A page of a half-open stretch of time, `start <= t < end` in ns: at most `limit` rows, strictly behind `after`.

    `equal`: values that columns must have. `columns`: those that are wanted, all where empty.
    """

    start: int
    end: int
    limit: int
    after: Place | None = None
    equal: Mapping[str, Value] = field(default_factory=dict)
    columns: Sequence[str] = ()


def _python(type_: str, nullable: bool) -> Any:
    if type_.startswith("DateTime64(9"):
        return Time
    if "String" in type_:
        return str
    if "Int" in type_:
        return int
    if type_ == "Bool":
        return bool
    return float | None if nullable or type_.startswith("Nullable") else float


def _listing(name: str, path: str, summary: str, scope: str, columns: Mapping[str, str], **more: Any) -> Listing:
    shown = {column: type_ for column, type_ in {**columns, **SOURCE}.items() if column not in _NOT_SHOWN}
    return Listing(name, path, summary, scope, shown, **more)


LISTINGS: Final = (
    _listing("trades", "/trades/{symbol}", "Trades of a symbol as its venue printed them", "market:read", TRADES.columns),
    _listing(
        "corrections", "/corrections/{symbol}", "What a venue took back of a symbol's trades, or changed", "market:read",
        CORRECTIONS.columns, nullable=frozenset({"price", "size"}),
    ),
    _listing("quotes", "/quotes/{symbol}", "Changes of a symbol's best bid and offer", "market:read", QUOTES.columns),
    _listing(
        "news", "/news/{symbol}", "What news items said about a symbol", "market:read", NEWS_SIGNALS.columns,
        nullable=frozenset({"sentiment"}),
    ),
    _listing(
        "bars", "/bars/{symbol}", "Closed bars of a symbol, the newest revision of each", "market:read", BARS.columns,
        time="start",
    ),
    _listing(
        "features", "/features/{symbol}/history", "Every feature after every event of a symbol; null until warm",
        "market:read", features_table(FEATURE_NAMES).columns, nullable=frozenset(FEATURE_NAMES),
    ),
    _listing(
        "predictions", "/predictions/{symbol}/history", "Every score after every event of a symbol", "signals:read",
        PREDICTIONS.columns,
    ),
    _listing(
        "outcomes", "/outcomes/{symbol}", "What came true of a symbol's sampled predictions", "signals:read",
        OUTCOMES.columns, nullable=frozenset({"price_matured", "log_return", "label"}),
        key=(*ORIGIN, "predicted_offset", "horizon_ns"),
    ),
)  # fmt: skip
BY_NAME: Final[Mapping[str, Listing]] = {listing.name: listing for listing in LISTINGS}
