"""What the name of a file says of its content: symbol, day, kind and venue."""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from schemas.errors import InputError

NAMES: Final = (
    re.compile(
        r"(?:^|/)lean_(?P<venue>[a-z0-9]+)_tick_(?P<symbol>[a-z0-9.\-]+)_(?P<day>\d{8})_(?P<kind>trade|quote)\."
    ),
    re.compile(r"/(?P<venue>[a-z0-9]+)/tick/(?P<symbol>[a-z0-9.\-]+)/(?P<day>\d{8})_(?P<kind>trade|quote)\."),
    re.compile(r"(?:^|/)(?P<day>\d{8})_(?P<symbol>[a-z0-9.\-]+)_(?P<kind>trade|quote)_tick\."),
)


@dataclass(frozen=True, slots=True)
class Labels:
    """What a name or an option says; empty or none where it says nothing."""

    symbol: str = ""
    day: date | None = None
    kind: str = ""
    venue: str = ""

    def or_else(self, other: "Labels") -> "Labels":
        """These labels, completed by the others."""
        return Labels(
            self.symbol or other.symbol, self.day or other.day, self.kind or other.kind, self.venue or other.venue
        )


def labels_of(path: Path, member: str = "") -> Labels:
    """What our names, LEAN's folders and LEAN's names inside a zip say.

    >>> labels_of(Path("equity/usa/tick/spy/20131007_trade.zip"))
    Labels(symbol='SPY', day=datetime.date(2013, 10, 7), kind='trade', venue='USA')
    """
    named = Labels()
    for text in (path.absolute().as_posix().lower(), member.lower()):
        for pattern in NAMES:
            if (found := pattern.search(text)) is not None:
                named = named.or_else(_labels(path, found.groupdict()))
    return named


def _labels(path: Path, parts: dict[str, str]) -> Labels:
    try:
        day = parse_day(parts["day"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Labels(parts["symbol"].upper(), day, parts["kind"], parts.get("venue", "").upper())


def parse_day(text: str) -> date:
    """`20131007` as a date. Raises: `InputError`."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError as error:
        raise InputError(f"expected a day as yyyymmdd, found {text!r}") from error
