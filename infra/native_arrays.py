"""ClickHouse's Native format, reading into NumPy: for whoever reads millions of values and looks at few of them.

Numbers and times become arrays as they lie in the bytes, LowCardinality(String) becomes `(codes, words)`, a nullable float
an array with NaN for NULL; every other type a list, as infra/native_reader.py reads it.
"""

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.native_format import NUMBERS, Coded, Column
from infra.native_reader import KEYS_ARE_OURS, SAME_BYTES, read_column, read_text, read_varint
from schemas.errors import DatabaseError

WORDS: Final = "LowCardinality(String)"
CUT: Final = 33
"""CANNOT_READ_ALL_DATA"""


def read_arrays(raw: bytes) -> dict[str, Column]:
    """All blocks of a result as one column a name; no columns where it has no rows."""
    stream, blocks = io.BytesIO(raw), []
    while stream.tell() < len(raw):
        columns, rows = read_varint(stream), read_varint(stream)
        block = {}
        for _ in range(columns):
            name, type_ = str(read_text(stream)), str(read_text(stream))
            if rows:
                block[name] = _read(stream, name, type_, rows)
        if rows:
            blocks.append(block)
    if not blocks:
        return {}
    return {name: _joined([block[name] for block in blocks]) for name in blocks[0]}


def as_arrays(described: Sequence[tuple[str, str]], columns: Sequence[Sequence[Any]]) -> dict[str, Column]:
    """The same from columns of plain values, as a driver gives them. described: (name, type) of each."""
    if not columns or not len(columns[0]):
        return {}
    return {name: _converted(type_, values) for (name, type_), values in zip(described, columns, strict=True)}


def _read(stream: io.BytesIO, name: str, type_: str, rows: int) -> Column:
    dtype = _dtype(type_)
    if dtype is not None:
        return np.frombuffer(_take(stream, rows * dtype.itemsize), dtype)
    if type_.startswith("Nullable(") and (dtype := _dtype(type_[9:-1])) is not None and dtype.kind == "f":
        absent = np.frombuffer(_take(stream, rows), np.bool_)
        return np.where(absent, np.nan, np.frombuffer(_take(stream, rows * dtype.itemsize), dtype))
    if type_ == WORDS:
        return _read_words(stream, rows)
    return read_column(stream, name, type_, rows)


def _read_words(stream: io.BytesIO, rows: int) -> Coded:
    _, flags, count = np.frombuffer(_take(stream, 24), "<u8").tolist()
    if not flags & KEYS_ARE_OURS:
        raise DatabaseError("expected a block with its own dictionary, found a shared one", code=CUT)
    words = [str(read_text(stream)) for _ in range(count)]
    _take(stream, 8)  # the number of rows again
    width = flags & 0xF
    return np.frombuffer(_take(stream, rows << width), f"<u{1 << width}").astype(np.int64), words


def _dtype(type_: str) -> np.dtype[Any] | None:
    if type_ == "Bool":
        return np.dtype(np.bool_)
    outer = type_.partition("(")[0]
    plain = SAME_BYTES.get(outer, outer)
    return np.dtype(NUMBERS[plain]) if plain in NUMBERS else None


def _converted(type_: str, values: Sequence[Any]) -> Column:
    dtype = _dtype(type_)
    if dtype is not None:
        return np.array(values, dtype)
    if type_.startswith("Nullable(Float"):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if type_ == WORDS:
        numbers: dict[Any, int] = {}
        codes = np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
        return codes, list(numbers)
    return list(values)


def _joined(parts: list[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tuple):
        numbers: dict[str, int] = {}
        codes: list[NDArray[np.int64]] = []
        for part in parts:
            assert isinstance(part, tuple)
            codes.append(np.array([numbers.setdefault(word, len(numbers)) for word in part[1]], np.int64)[part[0]])
        return np.concatenate(codes), list(numbers)
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return np.concatenate(parts)  # type: ignore[arg-type]


def _take(stream: io.BytesIO, size: int) -> bytes:
    taken = stream.read(size)
    if len(taken) != size:
        raise DatabaseError(f"the result is cut: expected {size} more bytes, found {len(taken)}", code=CUT)
    return taken
