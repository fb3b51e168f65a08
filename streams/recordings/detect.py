"""Tells recordings apart by what is in them, and refuses a file that is not what it says it is."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Final

from schemas.errors import InputError
from schemas.rows import DeadLetter
from streams.recordings.binance import LINE_HEAD, BinanceCapture
from streams.recordings.column_map import ColumnMap
from streams.recordings.columns import MappedCsv, MappedParquet
from streams.recordings.labels import Labels, labels_of
from streams.recordings.lean import LeanFile
from streams.recordings.lean_equity import VENUE, LeanQuotes, LeanTrades
from streams.recordings.lean_forex import LeanForex
from streams.recordings.lines import LineFile, refuse_packing
from streams.recordings.recording import Recording

HEAD_ROWS: Final = 100
MOST_BAD: Final = 10_000
"""Rows without an event before a file is given up: quotes of a thin name may have one side only until it opens."""
SUFFIXES: Final = (".csv", ".gz", ".zip", ".parquet")
LEAN_FORMATS: Final[tuple[type[LeanFile], ...]] = (LeanTrades, LeanQuotes, LeanForex)
FORMATS: Final = (
    "LEAN equity trade or quote ticks, LEAN forex ticks, a raw Binance capture, or any CSV or Parquet with a column map"
)


def open_recording(path: Path, labels: Labels | None = None, columns: ColumnMap | None = None) -> Recording:
    """The recording that a file holds.

    `labels`: symbol, day, kind and venue where the name does not say, or says it wrong. `columns`: what its columns
    are; then nothing is guessed.
    Raises: `InputError` for a file that is empty, damaged, of no known format, of another kind than it says, whose
    first rows are all bad, or whose rows run backwards in time.
    """
    file = LineFile(path)
    recording = _mapped(file, columns) if columns is not None else _detected(file, labels or Labels())
    stamps = _first_stamps(path, recording)
    _refuse_if_backwards(path, stamps)
    recording.first_ns = stamps[0]
    return recording


def files_in(paths: Iterable[Path]) -> list[Path]:
    """The files themselves, and of every directory all files in it that may be recordings, sorted by path.

    Raises: `InputError` for a path that is missing, for a directory without such a file, and for one that holds a file which
    is packed in a way that is not read: it would be missing without a word.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        there = sorted(file for file in _below(path) if file.is_file())
        for file in there:
            refuse_packing(file)
        found = [file for file in there if file.suffix.lower() in SUFFIXES]
        if not found:
            raise InputError(f"{path}: expected a directory with {', '.join(SUFFIXES)} files, found none")
        files.extend(found)
    return files


def _below(folder: Path) -> Iterator[Path]:
    """Every file beneath, also behind links to folders; a folder that several lead to once."""
    seen: set[str] = set()
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(at, name) for name in names)


def _mapped(file: LineFile, columns: ColumnMap) -> Recording:
    return MappedParquet(file, columns) if file.packing == "parquet" else MappedCsv(file, columns)


def _detected(file: LineFile, said: Labels) -> Recording:
    if file.packing == "parquet":
        raise InputError(f"{file.path}: a Parquet file needs a column map (--map kind=trade,ts=…,price=…,…)")
    head = list(file.head(HEAD_ROWS))
    if not head:
        raise InputError(f"{file.path}: the file has no rows")
    matches = {format_: sum(format_.grammar.match(line) is not None for line in head) for format_ in LEAN_FORMATS}
    best = max(matches, key=lambda format_: matches[format_])
    labels = said.or_else(labels_of(file.path, file.member))
    if matches[best]:
        return _lean(file, best, labels)
    if any(LINE_HEAD.match(line) for line in head):
        if labels.day is not None:
            raise InputError(f"{file.path}: expected LEAN ticks as the name says, found a raw capture of JSON messages")
        return BinanceCapture(file)
    raise InputError(f"{file.path}:1: expected {FORMATS}; found {_shown(head[0])}{_near_miss(labels, head[0])}")


def _lean(file: LineFile, format_: type[LeanFile], labels: Labels) -> Recording:
    found = "trade" if format_ is LeanTrades else "quote"
    if labels.kind and labels.kind != found:
        raise InputError(f"{file.path}: expected {labels.kind}s as the name says, found {format_.grammar.name}")
    if not labels.symbol or labels.day is None:
        raise InputError(
            f"{file.path}: {format_.grammar.name} say neither symbol nor day; expected them in the name "
            "(lean_usa_tick_spy_20131007_trade.csv.gz or equity/usa/tick/spy/20131007_trade.zip) or as options"
        )
    if format_ is LeanForex:
        return LeanForex(file, labels.symbol, labels.day, labels.venue)
    if labels.venue not in ("", VENUE):
        raise InputError(f"{file.path}: expected {labels.venue} ticks as the name says, found {format_.grammar.name}")
    if format_ is LeanQuotes:
        return LeanQuotes(file, labels.symbol, labels.day)
    return LeanTrades(file, labels.symbol, labels.day)


def _first_stamps(path: Path, recording: Recording) -> Sequence[int]:
    """Event times of its first events. One is enough, but not one among ten thousand is a reason to refuse the file."""
    bad: DeadLetter | None = None
    stamps: list[int] = []
    for item in islice(recording.items(), MOST_BAD):
        if isinstance(item, DeadLetter):
            bad = bad or item
        else:
            stamps.append(item.ts_event)
            if len(stamps) == HEAD_ROWS:
                break
    if not stamps and bad is None:
        raise InputError(f"{path}: no trade and no quote in it")
    if not stamps and bad is not None:
        raise InputError(f"{path}:{bad.offset}: none of the first rows can be read: {bad.detail}")
    return stamps


def _refuse_if_backwards(path: Path, stamps: Sequence[int]) -> None:
    """From the newest to the oldest, everything behind the first rows would be too late for the fold."""
    falls = sum(after < before for before, after in pairwise(stamps))
    if falls > 1 and not any(after > before for before, after in pairwise(stamps)):
        raise InputError(
            f"{path}: expected rows in the order of time, found them from the newest to the oldest; sort them first"
        )


def _near_miss(labels: Labels, line: bytes) -> str:
    """For a LEAN name: why its first row is not what the name says."""
    wanted = [f for f in LEAN_FORMATS if labels.kind == ("trade" if f is LeanTrades else "quote")]
    return "".join(f"; as {format_.grammar.name}: {format_.grammar.explain(line)}" for format_ in wanted)


def _shown(line: bytes) -> str:
    return repr(line[:60].decode(errors="replace"))
