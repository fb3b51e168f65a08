"""Cells of a table as numbers and times: text of a CSV, or typed values of a Parquet file."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, TypeAlias

from schemas.events import Side
from streams.recordings.zones import NS, epoch_ns, zone

Unit: TypeAlias = Literal["iso", "s", "ms", "us", "ns"]
FACTORS: Final[dict[str, int]] = {"s": NS, "ms": 1_000_000, "us": 1_000, "ns": 1}
HOUR_NS: Final = 3_600 * NS
ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d|\d{8})(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?\s?(Z|UTC|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
UNKNOWN: Final[Mapping[str, Side]] = {
    "": "unknown", "n": "unknown", "none": "unknown", "nan": "unknown", "unknown": "unknown",
}  # fmt: skip
SIDES: Final[Mapping[str, Side]] = {
    "buy": "buy", "b": "buy", "1": "buy", "+1": "buy", "sell": "sell", "s": "sell", "a": "sell", "-1": "sell", **UNKNOWN,
}  # fmt: skip
"""Words for who took: of feeds with `A` and `B`, the ask means a seller."""


def text_of(cell: Any) -> str:
    """A cell as text: nothing where it is null, a whole number without a fraction. Raises: `ValueError` for what is not UTF-8."""
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        return cell.decode()
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)


def sides(buy: str = "", sell: str = "") -> Callable[[Any], Side]:
    """A function that reads who took; `buy` and `sell`: the words for it, ours where empty. It raises `ValueError`."""
    words = SIDES if not buy else {**UNKNOWN, "0": "unknown", buy.lower(): "buy", sell.lower(): "sell"}
    known = " or ".join(word for word in words if words[word] != "unknown")

    def side(cell: Any) -> Side:
        text = text_of(cell).strip().lower()
        try:
            return words[text]
        except KeyError:
            raise ValueError(
                f"expected a side, {known}, found {text[:40]!r}; side_buy and side_sell of the column map say how the file "
                "calls them"
            ) from None

    return side


def number(cell: Any) -> float:
    """A finite number. Raises: `ValueError`."""
    if isinstance(cell, bool) or cell is None or (isinstance(cell, str) and "_" in cell):
        raise ValueError(f"expected a number, found {cell!r}")
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a number, found {str(cell)[:40]!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value}")
    return value


def whole(cell: Any) -> int:
    """A whole number not below 0. Raises: `ValueError`."""
    text = str(cell)
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ValueError(f"expected digits, found {text[:40]!r}")
    return int(text)


def clock_of(unit: Unit, tz: str) -> Callable[[Any], int]:
    """A function that reads a stamp as ns since the epoch; `tz` is the zone of stamps without an offset.

    The function raises `ValueError`.
    """
    place = zone(tz)
    minutes: dict[tuple[str, str, str], int] = {}

    def iso(text: str) -> int:
        found = ISO.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"expected a time such as 2013-01-01 22:00:00.295+00:00, found {text[:40]!r}")
        day, minute, second, fraction, offset = found.groups(default="")
        key = (day, minute, offset)
        start = minutes.get(key)
        if start is None:
            minutes.clear()
            start = minutes[key] = _minute(day, minute or "00:00", offset, place)
        return start + _second(second) * NS + int(fraction.ljust(9, "0") or "0")

    def stamp(cell: Any) -> int:
        if unit == "iso":
            return iso(cell.isoformat() if isinstance(cell, date) else text_of(cell))
        return _epoch(cell, FACTORS[unit])

    return stamp


def _minute(day: str, minute: str, offset: str, place: tzinfo) -> int:
    moment = datetime.fromisoformat(f"{day}T{minute}:00{'Z' if offset == 'UTC' else offset}")
    return epoch_ns(moment if moment.tzinfo is not None else moment.replace(tzinfo=place))


def _second(text: str) -> int:
    second = int(text or "0")
    if second > 59:
        raise ValueError(f"expected a second below 60, found {text}")
    return second


def _epoch(cell: Any, factor: int) -> int:
    text = str(cell).strip()
    if text.isascii() and text.isdigit() and len(text) <= 19:
        return int(text) * factor
    try:
        value = Decimal(text if "_" not in text else "NaN") * factor
    except InvalidOperation:
        value = Decimal("NaN")
    if not (value.is_finite() and abs(value) < 10**19):
        raise ValueError(f"expected a number of time units since 1970, found {text[:40]!r}")
    return int(value)


def utc_of_wall(tz: str) -> Callable[[int], int]:
    """A function from ns of a wall clock in `tz`, counted as if it were UTC, to ns since the epoch."""
    place = zone(tz)
    hours: dict[int, int] = {}

    def utc(wall: int) -> int:
        hour = wall // HOUR_NS
        start = hours.get(hour)
        if start is None:
            hours.clear()
            naive = datetime(1970, 1, 1, tzinfo=place) + timedelta(hours=hour)  # wall arithmetic: the zone stays aside
            start = hours[hour] = epoch_ns(naive)
        return start + wall % HOUR_NS

    return utc
