"""ClickHouse's Native format, reading: the bytes of a result become columns of plain Python values.

Numbers are `int`, `float` and `bool`, text is `str` (`bytes` where it is not UTF-8), times are integers in the
column's own unit (DateTime64(9): ns since 1970 UTC; DateTime: s; Date: days), NULL is None, Array a list, Map a dict.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import numpy as np

from infra.native_format import NUMBERS
from schemas.errors import DatabaseError

NOT_IMPLEMENTED: Final = 48
SAME_BYTES: Final[Mapping[str, str]] = {
    "Date": "UInt16", "Date32": "Int32", "DateTime": "UInt32", "DateTime64": "Int64", "Bool": "UInt8",
}  # fmt: skip
KEYS_ARE_OURS: Final = 1 << 9


class Stream(Protocol):
    """Where the bytes come from: a file, a socket's file, BytesIO."""

    def read(self, size: int, /) -> bytes: ...


Values: TypeAlias = list[Any]
Data: TypeAlias = Callable[[Stream, int], Values]


@dataclass(frozen=True, slots=True)
class Decoder:
    """How one type is read: what stands before the column, then its values."""

    data: Data
    prefix: Callable[[Stream], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Block:
    """Columns of equal length with their names and types."""

    names: list[str]
    types: list[str]
    columns: list[Values]


def read_blocks(stream: Stream) -> Iterator[Block]:
    """Every block up to the end of the stream; DatabaseError where a type is not read here or the stream is cut."""
    while first := stream.read(1):
        yield read_block(stream, columns=_varint(stream, first[0]))


def read_block(stream: Stream, columns: int) -> Block:
    """The rest of a block after its number of columns."""
    rows = read_varint(stream)
    names, types, values = [], [], []
    for _ in range(columns):
        name, type_ = str(read_text(stream)), str(read_text(stream))
        names.append(name)
        types.append(type_)
        values.append(read_column(stream, name, type_, rows) if rows else [])
    return Block(names, types, values)


def read_column(stream: Stream, name: str, type_: str, rows: int) -> Values:
    """The values of one column, without its name and type."""
    try:
        decoder = _decoder(type_)
    except ValueError as error:
        raise DatabaseError(
            f"column {name}: {error} is not read here; select toString({name}) instead", code=NOT_IMPLEMENTED
        ) from error
    decoder.prefix(stream)
    return decoder.data(stream, rows)


def read_varint(stream: Stream) -> int:
    """Seven bits a byte, the lowest first (LEB128)."""
    return _varint(stream, _take(stream, 1)[0])


def read_text(stream: Stream) -> str | bytes:
    """A length and so many bytes; `str` unless they are not UTF-8."""
    raw = _take(stream, read_varint(stream))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _varint(stream: Stream, byte: int) -> int:
    number, shift = byte & 0x7F, 7
    while byte & 0x80:
        byte = _take(stream, 1)[0]
        number |= (byte & 0x7F) << shift
        shift += 7
    return number


def _take(stream: Stream, size: int) -> bytes:
    taken = stream.read(size)
    if len(taken) != size:
        raise DatabaseError(f"the result is cut: expected {size} more bytes, found {len(taken)}", code=NOT_IMPLEMENTED)
    return taken


@lru_cache(maxsize=256)
def _decoder(type_: str) -> Decoder:
    outer, _, rest = type_.partition("(")
    inner = rest.removesuffix(")")
    if outer in NUMBERS:
        return _numbers(NUMBERS[outer])
    if outer == "Bool":
        return Decoder(lambda stream, rows: np.frombuffer(_take(stream, rows), np.bool_).tolist())
    if outer in SAME_BYTES:
        return _decoder(SAME_BYTES[outer])
    if outer == "String":
        return Decoder(lambda stream, rows: [read_text(stream) for _ in range(rows)])
    if outer == "FixedString":
        return _fixed(int(inner), bytes)
    if outer == "UUID":
        return _fixed(16, lambda raw: UUID(bytes=raw[7::-1] + raw[:7:-1]))
    if wide := re.fullmatch(r"(U?)Int(128|256)", outer):
        return _fixed(int(wide[2]) // 8, lambda raw: int.from_bytes(raw, "little", signed=not wide[1]))
    if outer == "Decimal":
        return _decimals(*(int(number) for number in inner.split(",")))
    if outer == "Nothing":
        return Decoder(lambda stream, rows: [None] * len(_take(stream, rows)))
    if outer in {"Enum8", "Enum16"}:
        return _enum(NUMBERS["Int" + outer[4:]], inner)
    return _composite(outer, inner)


def _composite(outer: str, inner: str) -> Decoder:
    if outer == "Nullable":
        return _nullable(_decoder(inner))
    if outer == "LowCardinality":
        return _low_cardinality(inner)
    if outer == "Array":
        return _arrays(_decoder(inner))
    if outer == "Map":
        return _maps(_tuples([_decoder(part) for part in _split(inner)]))
    if outer == "Tuple":
        return _tuples([_decoder(_unnamed(part)) for part in _split(inner)])
    if outer == "SimpleAggregateFunction":
        return _decoder(_split(inner)[1])
    raise ValueError(f"{outer}({inner})" if inner else outer)


def _numbers(dtype: str) -> Decoder:
    size = np.dtype(dtype).itemsize
    return Decoder(lambda stream, rows: np.frombuffer(_take(stream, rows * size), dtype).tolist())


def _fixed(size: int, value: Callable[[bytes], object]) -> Decoder:
    return Decoder(lambda stream, rows: [value(_take(stream, size)) for _ in range(rows)])


def _decimals(precision: int, scale: int) -> Decoder:
    size = next(size for limit, size in ((9, 4), (18, 8), (38, 16), (76, 32)) if precision <= limit)
    return _fixed(size, lambda raw: Decimal(f"{int.from_bytes(raw, 'little', signed=True)}e-{scale}"))


def _enum(dtype: str, names: str) -> Decoder:
    words = {
        int(number): word.replace("\\'", "'") for word, number in re.findall(r"'((?:\\'|[^'])*)' = (-?\d+)", names)
    }
    numbers = _numbers(dtype)
    return Decoder(lambda stream, rows: [words[number] for number in numbers.data(stream, rows)])


def _nullable(inner: Decoder) -> Decoder:
    def data(stream: Stream, rows: int) -> Values:
        absent = _take(stream, rows)
        return [None if no else value for no, value in zip(absent, inner.data(stream, rows), strict=True)]

    return Decoder(data, inner.prefix)


def _low_cardinality(inner: str) -> Decoder:
    nullable = inner.startswith("Nullable(")
    keys = _decoder(inner.removeprefix("Nullable(").removesuffix(")") if nullable else inner)

    def data(stream: Stream, rows: int) -> Values:
        if not rows:
            return []
        flags, count = np.frombuffer(_take(stream, 16), "<u8").tolist()
        if not flags & KEYS_ARE_OURS:
            raise DatabaseError("expected a block with its own dictionary, found a shared one", code=NOT_IMPLEMENTED)
        words = keys.data(stream, count)
        if nullable:
            words[0] = None
        _take(stream, 8)  # the number of rows again
        codes = np.frombuffer(_take(stream, rows << (flags & 0xF)), f"<u{1 << (flags & 0xF)}")
        return [words[code] for code in codes.tolist()]

    def prefix(stream: Stream) -> None:
        _take(stream, 8)  # the version of the keys' serialization

    return Decoder(data, prefix)


def _arrays(inner: Decoder) -> Decoder:
    def data(stream: Stream, rows: int) -> Values:
        ends = np.frombuffer(_take(stream, rows * 8), "<u8").tolist()
        flat = inner.data(stream, ends[-1] if ends else 0)
        return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    return Decoder(data, inner.prefix)


def _tuples(elements: list[Decoder]) -> Decoder:
    def prefix(stream: Stream) -> None:
        for element in elements:
            element.prefix(stream)

    return Decoder(lambda stream, rows: list(zip(*(each.data(stream, rows) for each in elements), strict=True)), prefix)


def _maps(pairs: Decoder) -> Decoder:
    lists = _arrays(pairs)
    return Decoder(lambda stream, rows: [dict(items) for items in lists.data(stream, rows)], pairs.prefix)


def _split(inner: str) -> list[str]:
    """The arguments of a type, divided by its outermost commas."""
    parts, depth, quoted = [""], 0, False
    for char in inner:
        quoted ^= char == "'"
        depth += 0 if quoted else (char == "(") - (char == ")")
        if char == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _unnamed(part: str) -> str:
    """`price Float64` without the name that a tuple's element may have."""
    name, space, type_ = part.partition(" ")
    return type_ if space and "(" not in name and "'" not in name and not name.endswith(",") else part
