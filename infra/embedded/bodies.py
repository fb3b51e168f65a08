"""The body of a request as pieces of plain bytes, whatever its transfer, encoding and size; never whole in memory."""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from email.message import Message
from typing import Final, Protocol, cast

import lz4.frame
import zstandard

from infra.embedded.answers import CANNOT_DECOMPRESS, NOT_IMPLEMENTED, EngineError
from infra.embedded.blocks import unpacked

PIECE: Final = 1 << 20
"""Bytes handed on at a time: large enough that the engine's call costs nothing beside its work."""
_LONGEST_CHUNK_LINE: Final = 1 << 10


class BodyTooLarge(Exception):
    """More bytes than a request may bring; `limit` says how many those are."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the body is larger than {limit} bytes, which is what one request may bring: send it in parts, "
            "or start the engine with a larger --max-body-mib"
        )
        self.limit = limit


class Reader(Protocol):
    """Bytes by the read; fewer than asked for is not the end, none is."""

    def read(self, size: int, /) -> bytes: ...


class Stream(Reader, Protocol):
    """A connection, read."""

    def readline(self, size: int, /) -> bytes: ...


class Transfer(io.RawIOBase):
    """What the client sends behind its headers, by Content-Length or in chunks; ends where the request ends.

    ConnectionError where the client goes away before, BodyTooLarge past `limit` bytes.
    """

    def __init__(self, stream: Stream, headers: Message, *, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._limit = limit
        self._chunked = headers.get("Transfer-Encoding", "").lower().strip() == "chunked"
        length = headers.get("Content-Length", "0").strip()
        if not length.isascii() or not length.isdigit():
            raise ValueError(f"Content-Length must be a number of bytes, was {length!r}")
        self._left = 0 if self._chunked else int(length)
        self._taken = 0
        self.done = not self._chunked and self._left == 0
        if self._left > limit:
            raise BodyTooLarge(limit)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self.next_piece(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def next_piece(self, size: int = PIECE) -> bytes:
        """Up to `size` bytes, none at the end."""
        if not self.done and self._left == 0:
            self._begin_chunk()
        if self.done:
            return b""
        piece = self._stream.read(min(size, self._left))
        if not piece:
            raise ConnectionError(f"the client went away with {self._left} bytes of its request unsent")
        self._left -= len(piece)
        self._taken += len(piece)
        if self._left == 0:
            self._end_chunk()
        if self._taken > self._limit:
            raise BodyTooLarge(self._limit)
        return piece

    def _begin_chunk(self) -> None:
        line = self._stream.readline(_LONGEST_CHUNK_LINE)
        try:
            self._left = int(line.split(b";")[0].strip(), 16)
            if self._left < 0:
                raise ValueError(self._left)
        except ValueError as error:
            self._left = 0
            raise ConnectionError(f"expected the size of a chunk, got {line[:40]!r}") from error
        if self._left == 0:
            while self._stream.readline(_LONGEST_CHUNK_LINE).strip():  # trailers
                pass
            self.done = True

    def _end_chunk(self) -> None:
        if self._chunked:
            self._stream.readline(_LONGEST_CHUNK_LINE)
        else:
            self.done = True


def pieces(transfer: Transfer, encoding: str, *, blocks: bool, limit: int) -> Iterator[bytes]:
    """The decoded body in pieces of about PIECE bytes.

    `encoding`: the Content-Encoding. `blocks`: whether ClickHouse's compressed blocks are inside (`decompress=1`).
    Raises EngineError for an encoding that is unknown or damaged, BodyTooLarge past `limit` decoded bytes.
    """
    decoded = _read_through(_decoder(transfer, encoding.strip().lower()))
    if blocks:
        decoded = unpacked(decoded, at_most=limit)
    total = 0
    for piece in gathered(decoded):
        total += len(piece)
        if total > limit:
            raise BodyTooLarge(limit)
        yield piece


def gathered(small: Iterable[bytes], size: int = PIECE // 4) -> Iterator[bytes]:
    """The same bytes in pieces of at least `size`, the last one excepted."""
    held: list[bytes] = []
    length = 0
    for piece in small:
        held.append(piece)
        length += len(piece)
        if length >= size:
            yield held[0] if len(held) == 1 else b"".join(held)
            held, length = [], 0
    if length:
        yield b"".join(held)


def _decoder(transfer: Transfer, encoding: str) -> Reader:
    match encoding:
        case "" | "identity":
            return _Plain(transfer)
        case "gzip" | "x-gzip":
            return gzip.GzipFile(fileobj=io.BufferedReader(transfer, PIECE))
        case "deflate":
            return _Deflated(transfer)
        case "lz4":
            return cast(Reader, lz4.frame.LZ4FrameFile(io.BufferedReader(transfer, PIECE)))
        case "zstd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            return decompressor.stream_reader(io.BufferedReader(transfer, PIECE), read_across_frames=True)
    raise EngineError(
        NOT_IMPLEMENTED,
        f"Unknown compression method '{encoding}' in Content-Encoding: gzip, deflate, lz4 and zstd work",
    )


def _read_through(reader: Reader) -> Iterator[bytes]:
    try:
        while piece := reader.read(PIECE):
            yield piece
    except (EOFError, gzip.BadGzipFile, zlib.error, RuntimeError, zstandard.ZstdError) as error:
        raise EngineError(CANNOT_DECOMPRESS, f"the body cannot be decompressed: {error}") from error


class _Plain:
    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer

    def read(self, size: int, /) -> bytes:
        return self._transfer.next_piece(size)


class _Deflated:
    """`deflate` as HTTP means it: a zlib stream, unpacked no faster than it is read."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._unpacker = zlib.decompressobj()

    def read(self, size: int, /) -> bytes:
        while True:
            packed = self._unpacker.unconsumed_tail or self._transfer.next_piece()
            if not packed and not self._unpacker.eof:
                raise EOFError("the stream ends before its end marker")
            if self._unpacker.eof:
                return b""
            if plain := self._unpacker.decompress(packed, size):
                return plain
