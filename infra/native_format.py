"""ClickHouse's Native format, writing: columns as NumPy arrays become the bytes of one block.

What the values of a column may be, by its ClickHouse type; arrays are handed over whole, never value by value:

    UInt8 .. Int64, Float32, Float64, Bool   array or sequence of numbers; out of range is refused, never wrapped
    Date, DateTime, DateTime64(0|3|6|9)      integers in the column's own unit (days, s; s, ms, us, ns), or `datetime64`
    String                                   sequence of `str` or `bytes`
    LowCardinality(String)                   the same, or `(codes, dictionary)`: row i is `dictionary[codes[i]]`
    Nullable(T)                              NaN in a float array, a masked entry, or None in a sequence is NULL
    Array(T)                                 sequence of sequences

Layout: https://clickhouse.com/docs/interfaces/formats/Native and, for LowCardinality, SerializationLowCardinality.cpp.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from operator import index
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DatabaseError

Coded: TypeAlias = tuple[NDArray[Any], Sequence[str]]
Column: TypeAlias = NDArray[Any] | Sequence[Any] | Coded
Parts: TypeAlias = list[bytes | memoryview]
"""Pieces that are written one after the other."""
Encoder: TypeAlias = Callable[[Column], Parts]

TYPE_MISMATCH: Final = 53
NUMBERS: Final[Mapping[str, str]] = {
    "UInt8": "u1", "UInt16": "<u2", "UInt32": "<u4", "UInt64": "<u8",
    "Int8": "i1", "Int16": "<i2", "Int32": "<i4", "Int64": "<i8",
    "Float32": "<f4", "Float64": "<f8",
}  # fmt: skip
TIMES: Final[Mapping[str, tuple[str, str]]] = {
    "Date": ("<u2", "D"), "Date32": ("<i4", "D"), "DateTime": ("<u4", "s"), "DateTime64(0)": ("<i8", "s"),
    "DateTime64(3)": ("<i8", "ms"), "DateTime64(6)": ("<i8", "us"), "DateTime64(9)": ("<i8", "ns"),
}  # fmt: skip
SHARED_DICTIONARY: Final = np.uint64(1).tobytes()
OWN_KEYS: Final = (1 << 9) | (1 << 10)
"""Every block brings its whole dictionary (HasAdditionalKeys, NeedUpdateDictionary)."""
FEW: Final = 32


def encode_block(columns: Mapping[str, Column], types: Mapping[str, str]) -> bytes:
    """One block in Native format, as `INSERT … FORMAT Native` wants it.

    `types`: name to ClickHouse type for at least these columns. DatabaseError where a value does not fit its column.
    """
    parts: Parts = [varint(len(columns)), varint(row_count(columns))]
    for name, values in columns.items():
        parts += [text(name), text(types[name]), *encode_column(name, types[name], values)]
    return b"".join(parts)


def row_count(columns: Mapping[str, Column]) -> int:
    """The length that all columns share; DatabaseError naming two that differ."""
    lengths = {name: len(values[0] if _is_coded(values) else values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        first, other = next((a, b) for a in lengths for b in lengths if lengths[a] != lengths[b])
        raise DatabaseError(
            f"all columns of a block must be equally long, but {first} has {lengths[first]} rows and {other} "
            f"{lengths[other]}",
            code=TYPE_MISMATCH,
        )
    return next(iter(lengths.values()), 0)


def encode_column(name: str, type_: str, values: Column) -> Parts:
    """The bytes of one column, at least one row long, without its name and type."""
    try:
        return _encoder(type_)(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatabaseError(f"column {name} {type_}: {error}", code=TYPE_MISMATCH) from error


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first (LEB128)."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(value: str | bytes) -> bytes:
    """A string as Native writes it: length, then bytes."""
    encoded = value.encode() if isinstance(value, str) else value
    if not isinstance(encoded, bytes):
        raise TypeError(f"expected str or bytes, found {type(value).__name__}")
    return varint(len(encoded)) + encoded


@lru_cache(maxsize=256)
def _encoder(type_: str) -> Encoder:
    outer, _, rest = type_.partition("(")
    inner = rest.removesuffix(")")
    if type_ in NUMBERS:
        return partial(_numbers, np.dtype(NUMBERS[type_]))
    if type_ == "Bool":
        return _bools
    if type_ == "String":
        return _strings
    if type_ == "LowCardinality(String)":
        return _low_cardinality
    if outer in {"Date", "Date32", "DateTime", "DateTime64"}:
        plain = re.sub(r"\('[^']*'\)|,\s*'[^']*'", "", type_)  # the time zone is how it is shown, not what it is
        if plain in TIMES:
            return partial(_times, *TIMES[plain])
    if outer == "Nullable":
        return partial(_nullable, _encoder(inner))
    if outer == "Array" and not inner.startswith("LowCardinality"):
        return partial(_arrays, _encoder(inner))
    known = ", ".join([*NUMBERS, *TIMES, "Bool", "String", "LowCardinality(String)", "Nullable(T)", "Array(T)"])
    raise ValueError(f"this type is not written here; known are {known}")


def _raw(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


def _numbers(dtype: np.dtype[Any], values: Column) -> Parts:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError("a masked array needs a Nullable column")
    if not isinstance(values, np.ndarray) and dtype.kind != "f":
        values = np.array([index(cast(Any, value)) for value in values], dtype)  # neither cuts 1.5 nor wraps 256
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"expected one dimension, found shape {array.shape}")
    if array.dtype != dtype:
        array = _cast(array, dtype)
    return [_raw(array)]


def _cast(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if array.size and (array.dtype.kind not in "fiub" or (dtype.kind != "f" and array.dtype.kind == "f")):
        raise ValueError(f"expected {dtype.name}, found {array.dtype.name}")
    if dtype.kind != "f" and array.size and not np.can_cast(array.dtype, dtype, "safe"):
        limits, low, high = np.iinfo(dtype), array.min(), array.max()
        if low < limits.min or high > limits.max:
            raise ValueError(f"expected {limits.min} to {limits.max}, found {low} to {high}")
    return array.astype(dtype)


def _bools(values: Column) -> Parts:
    array = np.asarray(values)
    if array.dtype.kind in "iu" and array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"expected false and true, found {array.min()} to {array.max()}")
    return _numbers(np.dtype("u1"), array)


def _times(dtype: str, unit: str, values: Column) -> Parts:
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        if np.isnat(values).any():
            raise ValueError("NaT needs a Nullable column")
        values = values.astype(f"datetime64[{unit}]").view("<i8")
    return _numbers(np.dtype(dtype), values)


def _strings(values: Column) -> Parts:
    items = values.tolist() if isinstance(values, np.ndarray) else values
    if len(items) >= FEW:
        try:
            joined = "".join(items)  # type: ignore[arg-type]
        except TypeError:
            joined = "\x80"  # bytes among them
        if joined.isascii():
            return _ascii(items, joined.encode())
    return [b"".join([text(item) for item in items])]  # type: ignore[arg-type]


def _ascii(items: Sequence[Any], joined: bytes) -> Parts:
    """Strings without a byte over 127: lengths are known without encoding each, and laid between them by NumPy."""
    lengths = np.fromiter(map(len, items), np.int64, len(items))
    if lengths.max() >= 0x80:
        return [b"".join([text(item) for item in items])]
    heads = np.cumsum(lengths + 1) - lengths - 1
    out = np.empty(len(items) + len(joined), np.uint8)
    is_text = np.ones(len(out), np.bool_)
    is_text[heads] = False
    out[heads] = lengths
    out[is_text] = np.frombuffer(joined, np.uint8)
    return [_raw(out)]


def _low_cardinality(values: Column) -> Parts:
    codes, words = values if _is_coded(values) else _factorize(values)
    if codes.dtype.kind not in "iu":
        raise ValueError(f"expected integer codes, found {codes.dtype.name}")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= len(words):
        raise ValueError(f"expected codes from 0 to {len(words) - 1}, the dictionary's, found {low} to {high}")
    if len(words) > max(len(codes), 256):  # the server would take in words that no row has
        used, codes = np.unique(codes, return_inverse=True)
        words = [words[i] for i in used.tolist()]
    size = next(i for i in range(4) if len(words) <= 1 << (8 << i))
    header = np.array([OWN_KEYS | size, len(words)], "<u8").tobytes()
    rows = _raw(codes.astype(f"<u{1 << size}"))
    return [SHARED_DICTIONARY, header, *_strings(words), np.uint64(len(codes)).tobytes(), rows]


def _factorize(values: Column) -> Coded:
    items = values.tolist() if isinstance(values, np.ndarray) else values
    words = dict.fromkeys(items)
    for code, word in enumerate(words):
        words[word] = code
    return np.fromiter(map(words.__getitem__, items), np.int64, len(items)), list(words)


def _is_coded(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) == 2 and isinstance(values[0], np.ndarray)


def _nullable(inner: Encoder, values: Column) -> Parts:
    if isinstance(values, np.ndarray):
        absent = np.ma.getmaskarray(values).copy()
        plain = np.ma.getdata(values)
        if values.dtype.kind == "f":
            absent |= np.isnan(plain)
        if values.dtype.kind == "M":
            absent |= np.isnat(plain)
        filled: Column = np.where(absent, np.zeros(1, plain.dtype), plain) if absent.any() else plain
        return [_raw(absent), *inner(filled)]
    absent = np.fromiter((value is None for value in values), np.bool_, len(values))
    filler = next((value for value in values if value is not None), 0)  # what stands under a NULL is never read
    return [_raw(absent), *inner([filler if value is None else value for value in values])]


def _arrays(inner: Encoder, values: Column) -> Parts:
    ends = np.cumsum(np.fromiter(map(len, values), np.uint64, len(values)))
    flat = list(chain.from_iterable(values))
    return [_raw(ends.astype("<u8")), *(inner(flat) if flat else [])]
