"""Which recordings under some paths are of the wanted symbols and days, and what they hold."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from schemas.errors import InputError
from streams.recordings.detect import files_in, open_recording
from streams.recordings.labels import labels_of, parse_day
from streams.recordings.lean_quote_bars import LeanQuoteBars
from streams.recordings.recording import Recording

SECOND_BARS: Final = re.compile(r"lean_usa_second_(?P<symbol>[a-z0-9.\-]+)_(?P<day>\d{8})_quote\.")
KINDS: Final = {"quote": "quote ticks", "bars": "quotes at the end of each second", "trade": "trade ticks"}


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    symbol: str
    day: date
    kind: str
    """A key of `KINDS`."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Recordings, quotes before trades of the same instant, and of each what it is."""

    recordings: Sequence[Recording]
    found: Sequence[_Found]

    def told(self) -> list[str]:
        """A sentence a symbol and day: what there was, and what was not."""
        sentences = []
        for symbol, day in sorted({(each.symbol, each.day) for each in self.found}):
            kinds = [each.kind for each in self.found if (each.symbol, each.day) == (symbol, day)]
            lacks = [] if {"quote", "bars"} & set(kinds) else ["no quotes: labels are of the last trade"]
            lacks += [] if "trade" in kinds else ["no trades"]
            lacks += ["quote ticks are not available"] if "bars" in kinds else []
            note = f" ({', '.join(lacks)})" if lacks else ""
            sentences.append(f"{symbol} {day}: {', '.join(KINDS[kind] for kind in kinds)}{note}.")
        return sentences


def chosen(paths: Iterable[Path], symbols: frozenset[str], days: frozenset[date]) -> Chosen:
    """Recordings of LEAN's US equities whose names say a wanted symbol and day (all where empty).

    Bars of a second stand in for quotes only where there are no quote ticks of that symbol and day. Raises: `InputError`
    where a wanted symbol has nothing on a wanted day.
    """
    named = [each for each in map(_named, files_in(paths)) if each is not None]
    wanted = [
        each for each in named if (not symbols or each.symbol in symbols) and (not days or each.day in days)
    ]  # fmt: skip
    ticks = {(each.symbol, each.day) for each in wanted if each.kind == "quote"}
    kept = [each for each in wanted if each.kind != "bars" or (each.symbol, each.day) not in ticks]
    _check(kept, symbols, days)
    kept.sort(key=lambda each: (each.day, each.kind == "trade", each.symbol))
    return Chosen([_opened(each) for each in kept], kept)


def _named(path: Path) -> _Found | None:
    bars = SECOND_BARS.search(path.name)
    if bars is not None:
        return _Found(path, bars["symbol"].upper(), parse_day(bars["day"]), "bars")
    labels = labels_of(path)
    if labels.venue != "USA" or labels.day is None or not labels.symbol or not labels.kind:
        return None
    return _Found(path, labels.symbol, labels.day, labels.kind)


def _opened(found: _Found) -> Recording:
    if found.kind == "bars":
        return LeanQuoteBars.open(found.path, found.symbol, found.day)
    return open_recording(found.path)


def _check(kept: Sequence[_Found], symbols: frozenset[str], days: frozenset[date]) -> None:
    have = {(each.symbol, each.day) for each in kept}
    lacking = sorted({(symbol, day) for symbol in symbols for day in days} - have)
    if lacking or not kept:
        told = ", ".join(f"{symbol} {day}" for symbol, day in lacking) or "any US equity"
        raise InputError(f"expected recordings whose names say symbol and day, found none of {told}")
