"""The body of a response, compressed as the client asked for it, piece by piece."""

import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import lz4.frame
import zstandard

from infra.embedded.blocks import packed

FAST: Final = 1
"""Compression level: on loopback the client asks out of habit."""


class Encoder(Protocol):
    """`content_encoding` is the header's value, None where there is none to send."""

    content_encoding: str | None

    def add(self, piece: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class Plain:
    """No compression."""

    content_encoding: str | None = None

    def add(self, piece: bytes) -> bytes:
        return piece

    def end(self) -> bytes:
        return b""


class ClickHouseBlocks(Plain):
    """`compress=1`: ClickHouse's own blocks, no Content-Encoding."""

    def add(self, piece: bytes) -> bytes:
        return packed(piece) if piece else b""


class _Zlib:
    def __init__(self, name: str, window_bits: int) -> None:
        self.content_encoding: str | None = name
        self._stream = zlib.compressobj(FAST, wbits=window_bits)

    def add(self, piece: bytes) -> bytes:
        return self._stream.compress(piece)

    def end(self) -> bytes:
        return self._stream.flush()


class _Zstd:
    def __init__(self) -> None:
        self.content_encoding: str | None = "zstd"
        self._stream = zstandard.ZstdCompressor(level=FAST).compressobj()

    def add(self, piece: bytes) -> bytes:
        return bytes(self._stream.compress(piece))

    def end(self) -> bytes:
        return bytes(self._stream.flush())


class _Lz4:
    def __init__(self) -> None:
        self.content_encoding: str | None = "lz4"
        self._stream = lz4.frame.LZ4FrameCompressor()
        self._head = bytes(self._stream.begin())

    def add(self, piece: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._stream.compress(piece))

    def end(self) -> bytes:
        return self._head + bytes(self._stream.flush())


_ENCODERS: Final[Mapping[str, Callable[[], Encoder]]] = {  # what costs least first
    "lz4": _Lz4,
    "zstd": _Zstd,
    "gzip": lambda: _Zlib("gzip", 31),
    "deflate": lambda: _Zlib("deflate", 15),
}


def encoder(accept_encoding: str, *, compress: bool, blocks: bool) -> Encoder:
    """`accept_encoding`: the header. `compress`: enable_http_compression=1. `blocks`: compress=1."""
    if blocks:
        return ClickHouseBlocks()
    if compress:
        offers = [offer.partition(";") for offer in accept_encoding.lower().split(",")]
        accepted = {name.strip() for name, _, weight in offers if weight.replace(" ", "") not in ("q=0", "q=0.0")}
        for name, start in _ENCODERS.items():
            if name in accepted:
                return start()
    return Plain()
