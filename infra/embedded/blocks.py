"""ClickHouse's own compressed blocks, as in `compress=1`, `decompress=1` and its native protocol.

A block: CityHash128 of the rest (16 bytes), method (1), size of the rest with its header (4), size unpacked (4), data.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128  # type: ignore[import-untyped]

from infra.embedded.answers import CANNOT_DECOMPRESS, UNKNOWN_COMPRESSION_METHOD, EngineError

NONE: Final = 0x02
LZ4: Final = 0x82
ZSTD: Final = 0x90
_HEADER: Final = Struct("<BII")
_CHECKSUM: Final = Struct("<QQ")
LARGEST: Final = 1 << 30
"""Bytes of one block; a header that says more is not a header."""


def packed(data: bytes) -> bytes:
    """One block, LZ4."""
    body = bytes(lz4.block.compress(data, store_size=False))
    block = _HEADER.pack(LZ4, _HEADER.size + len(body), len(data)) + body
    return _checksum(block) + block


def unpacked(pieces: Iterable[bytes], *, at_most: int = LARGEST) -> Iterator[bytes]:
    """The content of the blocks in a stream of bytes cut anywhere; a block larger than `at_most` is refused unread."""
    reader = _Reader(pieces)
    while checksum := reader.take(_CHECKSUM.size):
        header = reader.take(_HEADER.size)
        if len(header) < _HEADER.size:
            raise EngineError(CANNOT_DECOMPRESS, "the compressed blocks end inside of a header")
        method, size, content_size = _HEADER.unpack(header)
        if not _HEADER.size <= size <= LARGEST or content_size > at_most:
            raise EngineError(
                CANNOT_DECOMPRESS, f"a compressed block of {size} bytes holding {content_size} is larger than allowed"
            )
        body = reader.take(size - _HEADER.size)
        if len(body) < size - _HEADER.size or _checksum(header + body) != checksum:
            raise EngineError(CANNOT_DECOMPRESS, "a compressed block does not match its checksum: cut short or damaged")
        yield _content(method, body, content_size)


def _content(method: int, body: bytes, size: int) -> bytes:
    try:
        if method == LZ4:
            content = lz4.block.decompress(body, uncompressed_size=size)
        elif method == ZSTD:
            content = zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
        elif method == NONE:
            content = body
        else:
            raise EngineError(
                UNKNOWN_COMPRESSION_METHOD, f"compression method 0x{method:02x} is none of LZ4, ZSTD and NONE"
            )
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise EngineError(CANNOT_DECOMPRESS, f"a compressed block cannot be unpacked: {error}") from error
    return bytes(content)


def _checksum(block: bytes) -> bytes:
    value: int = CityHash128(block)
    return _CHECKSUM.pack(value >> 64, value & ((1 << 64) - 1))


class _Reader:
    """Takes exact numbers of bytes from pieces of any size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        parts = [self._held[self._at : self._at + size]]
        self._at += len(parts[0])
        missing = size - len(parts[0])
        while missing:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held, self._at = piece, min(missing, len(piece))
            parts.append(piece[: self._at])
            missing -= self._at
        return b"".join(parts)
