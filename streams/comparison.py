"""Two sets of rows of one table, those that must be there and those that are, held against each other bit by bit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.columns import Block, Column

IDENTITY: Final[Mapping[str, Sequence[str]]] = {
    "outcomes": ("src_offset", "predicted_offset", "horizon_ns"),
    "outcome_scores": ("src_offset", "predicted_offset", "horizon_ns", "model_id"),
    "challenger_scores": ("src_offset", "model_id"),
    "model_changes": ("src_offset", "action", "model_id"),
    "alerts": ("src_offset", "symbol", "rule"),
    "bars": ("src_offset", "symbol", "kind", "start", "rev"),
}
"""What makes two rows of one partition the same row; `src_offset` alone where a table is not named."""
ONE_PER_RECORD: Final = ("src_offset",)
ASKED_FOR: Final = frozenset(["log_id", "src_partition"])
"""Columns that the rows were chosen by: those found have no other value."""
Stored: TypeAlias = Column | Sequence[Any]
"""A column as it was read."""
MAY_LACK: Final = "*"
"""Among `Masks`: the expected rows [n] that may be there or not."""
Masks: TypeAlias = Mapping[str, NDArray[np.bool_]]
"""Column to the expected rows [n] whose value there cannot be known."""


@dataclass(frozen=True, slots=True)
class Differing:
    """Rows whose values of one column differ: offsets [n], and both values as they were compared."""

    column: str
    offsets: NDArray[np.int64]
    expected: Sequence[Any]
    found: Sequence[Any]
    rows: NDArray[np.int64]
    """[n]: which of the stored rows."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What the stored rows of a stretch lack, have too often, have too many of, or have otherwise."""

    lost: NDArray[np.int64]
    """Offsets of rows that are expected and not there."""
    duplicate: NDArray[np.int64]
    """Offsets of rows that are there once more."""
    unexpected: NDArray[np.int64]
    """Offsets of rows that nothing on the log made."""
    differing: Sequence[Differing]
    unknown: Mapping[str, int]
    """Column to how many of its values could not be compared."""


def compare(
    table: str, expected: Block, found: Mapping[str, Stored], *, unknown: Masks | None = None,
    tolerance: Mapping[str, float] | None = None,
) -> Compared:  # fmt: skip
    """Hold the rows of one partition against each other, in whatever order they are.

    Either may have no columns, which is no row. Every column of `expected` but those of `ASKED_FOR` must be among those found.
    `tolerance`: column to how far apart two scores may be; all others must have the same bits (NaN equals NaN).
    """
    if not expected or not found:
        none = np.empty(0, np.int64)
        lost = np.asarray(expected["src_offset"], np.int64) if expected else none
        extra = np.asarray(found["src_offset"], np.int64) if found else none
        return Compared(lost, none, extra, (), {})
    pairs = {name: _comparable(expected[name], found[name]) for name in expected if name not in ASKED_FOR}
    ours, theirs = _identities([pairs[name] for name in IDENTITY.get(table, ONE_PER_RECORD)])
    order = np.argsort(ours, kind="stable")
    at = np.minimum(np.searchsorted(ours, theirs, sorter=order), len(ours) - 1)
    partner = order[at]
    known = ours[partner] == theirs
    missing = ~np.isin(ours, theirs)
    if unknown is not None and MAY_LACK in unknown:
        missing &= ~unknown[MAY_LACK]
    offsets, stored_at = np.asarray(expected["src_offset"], np.int64), np.asarray(found["src_offset"], np.int64)
    _, first = np.unique(theirs, return_index=True)
    again = np.ones(len(theirs), np.bool_)
    again[first] = False
    rows = np.flatnonzero(known)
    differing, uncompared = [], {}
    for name, (wanted, there) in pairs.items():
        wrong = ~_same(wanted[partner[rows]], there[rows], (tolerance or {}).get(name, 0.0))
        if unknown is not None and name in unknown:
            skipped = unknown[name][partner[rows]]
            uncompared[name] = int(skipped.sum())
            wrong &= ~skipped
        if wrong.any():
            bad = rows[wrong]
            differing.append(
                Differing(name, stored_at[bad], _values(expected[name], partner[bad]), _values(found[name], bad), bad)
            )
    return Compared(offsets[missing], stored_at[again & known], stored_at[~known], differing, uncompared)


def _identities(parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """One number a row on each side, equal where all parts are."""
    if len(parts) == 1:
        return parts[0]
    n = len(parts[0][0])
    both = np.stack([np.concatenate(part).astype(np.int64) for part in parts], axis=1)
    _, numbers = np.unique(both, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    return numbers[:n], numbers[n:]


def _comparable(expected: Stored, found: Stored) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as arrays of one type: words as numbers, text as bytes, floats and integers as they are stored."""
    if isinstance(found, tuple) or isinstance(expected, tuple):
        numbers: dict[bytes, int] = {}
        return _numbered(expected, numbers), _numbered(found, numbers)
    if isinstance(found, list):
        return _texts(expected), _texts(found)
    there = np.asarray(found)
    return np.asarray(expected).astype(there.dtype), there


def _numbered(column: Stored, numbers: dict[bytes, int]) -> NDArray[Any]:
    if isinstance(column, tuple):
        codes, words = column
        return np.array([numbers.setdefault(_bytes(word), len(numbers)) for word in words], np.int64)[codes]
    return np.array([numbers.setdefault(_bytes(word), len(numbers)) for word in column], np.int64)


def _texts(column: Stored) -> NDArray[Any]:
    texts = np.empty(len(column), object)
    texts[:] = [_bytes(value) for value in column]
    return texts


def texts(column: Stored) -> list[str]:
    """The words of a column, however it holds them."""
    values = _values(column, np.arange(len(column[0] if isinstance(column, tuple) else column)))
    return [_bytes(value).decode() for value in values]


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _same(wanted: NDArray[Any], there: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    if there.dtype.kind != "f":
        same: NDArray[np.bool_] = wanted == there
        return same
    bits = f"u{there.dtype.itemsize}"
    same = (np.ascontiguousarray(wanted).view(bits) == np.ascontiguousarray(there).view(bits)) | (
        np.isnan(wanted) & np.isnan(there)
    )
    return same | (np.abs(wanted - there) <= tolerance) if tolerance else same


def _values(column: Stored, rows: NDArray[np.int64]) -> list[Any]:
    if isinstance(column, tuple):
        return [column[1][code] for code in column[0][rows].tolist()]
    if isinstance(column, list):
        return [column[row] for row in rows.tolist()]
    return np.asarray(column)[rows].tolist()  # type: ignore[no-any-return]
