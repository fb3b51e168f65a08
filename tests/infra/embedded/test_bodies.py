"""A request's body comes out as it went in, in pieces, whatever its transfer and encoding; what is too large is refused."""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from email.message import Message

import lz4.frame
import pytest
import zstandard

from infra.embedded.answers import CANNOT_DECOMPRESS, NOT_IMPLEMENTED, EngineError
from infra.embedded.blocks import LARGEST, packed, unpacked
from infra.embedded.bodies import PIECE, BodyTooLarge, Transfer, gathered, pieces
from infra.embedded.encoders import encoder

PLAIN = b"".join(b"%d,some text\n" % number for number in range(300_000))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
MEBIBYTE = 1 << 20


def transfer(body: bytes, *, limit: int = 64 * MEBIBYTE, chunk: int | None = None) -> Transfer:
    """A request's body as it lies on the wire, with another request behind it."""
    headers = Message()
    if chunk is None:
        headers["Content-Length"] = str(len(body))
        wire = body
    else:
        headers["Transfer-Encoding"] = "chunked"
        cut = [body[start : start + chunk] for start in range(0, len(body), chunk)]
        wire = b"".join(b"%x;note\r\n%s\r\n" % (len(piece), piece) for piece in cut) + b"0\r\nTrailer: x\r\n\r\n"
    return Transfer(io.BytesIO(wire + b"GET / HTTP/1.1\r\n"), headers, limit=limit)


def decoded(body: bytes, encoding: str = "", *, blocks: bool = False, limit: int = 64 * MEBIBYTE) -> list[bytes]:
    return list(pieces(transfer(body), encoding, blocks=blocks, limit=limit))


def test_a_body_ends_where_its_length_says_and_the_next_request_is_left() -> None:
    stream = io.BytesIO(b"12345GET")
    headers = Message()
    headers["content-length"] = "5"
    body = Transfer(stream, headers, limit=10)
    assert [body.next_piece(3), body.next_piece(3), body.next_piece(3), body.done] == [b"123", b"45", b"", True]
    assert stream.read() == b"GET"


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_a_body_in_chunks_is_the_body(chunk: int) -> None:
    body = PLAIN[: chunk * 50]
    arrived = transfer(body, chunk=chunk)
    assert b"".join(pieces(arrived, "", blocks=False, limit=MEBIBYTE * 64)) == body
    assert arrived.done


@pytest.mark.parametrize("encoding", PACKERS)
def test_each_encoding_gives_the_body_back_in_bounded_pieces(encoding: str) -> None:
    arrived = decoded(PACKERS[encoding](PLAIN), encoding)
    assert b"".join(arrived) == PLAIN
    assert max(len(piece) for piece in arrived) <= 2 * PIECE


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd"])
def test_frames_one_after_the_other_are_one_body(encoding: str) -> None:
    pack = PACKERS[encoding]
    assert b"".join(decoded(pack(PLAIN[:1000]) + pack(PLAIN[1000:]), encoding)) == PLAIN


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4"])
def test_an_encoded_body_that_is_cut_short_is_refused(encoding: str) -> None:
    with pytest.raises(EngineError) as refused:
        decoded(PACKERS[encoding](PLAIN)[:-20], encoding)
    assert refused.value.code == CANNOT_DECOMPRESS


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
def test_a_body_that_is_not_what_it_says_is_refused(encoding: str) -> None:
    with pytest.raises(EngineError) as refused:
        decoded(b"plain text, and a good deal of it", encoding)
    assert refused.value.code == CANNOT_DECOMPRESS


def test_an_encoding_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match="'snappy'") as refused:
        decoded(b"x", "snappy")
    assert refused.value.code == NOT_IMPLEMENTED


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
def test_a_small_body_that_unpacks_to_more_than_allowed_is_stopped_there(encoding: str) -> None:
    bomb = PACKERS[encoding](bytes(40 * MEBIBYTE))
    assert len(bomb) < 2 * MEBIBYTE
    sizes: list[int] = []
    unpacking = pieces(transfer(bomb), encoding, blocks=False, limit=8 * MEBIBYTE)
    with pytest.raises(BodyTooLarge):
        sizes.extend(map(len, unpacking))
    assert sum(sizes) <= 8 * MEBIBYTE


def test_a_length_over_the_limit_is_refused_before_a_byte_is_read() -> None:
    with pytest.raises(BodyTooLarge, match="larger than 10 bytes"):
        transfer(b"12345678901", limit=10)


def test_chunks_over_the_limit_are_refused_when_they_pass_it() -> None:
    with pytest.raises(BodyTooLarge):
        list(pieces(transfer(PLAIN, limit=MEBIBYTE, chunk=1000), "", blocks=False, limit=MEBIBYTE))


def test_a_client_that_goes_away_is_no_end_of_the_body() -> None:
    headers = Message()
    headers["Content-Length"] = "10"
    body = Transfer(io.BytesIO(b"123"), headers, limit=100)
    body.next_piece()
    with pytest.raises(ConnectionError, match="7 bytes"):
        body.next_piece()


@pytest.mark.parametrize("size", [b"-1", b"-5", b"x", b""])
def test_a_size_of_a_chunk_that_is_no_number_is_refused_again_and_again(size: bytes) -> None:
    headers = Message()
    headers["Transfer-Encoding"] = "chunked"
    body = Transfer(io.BytesIO(size + b"\r\n" + bytes(1000)), headers, limit=100)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="expected the size of a chunk"):
            body.next_piece()


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "ten", ""])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    headers = Message()
    headers["Content-Length"] = length
    with pytest.raises(ValueError, match="Content-Length"):
        Transfer(io.BytesIO(b""), headers, limit=100)


def test_small_pieces_are_put_together() -> None:
    assert list(gathered([b"a", b"bc", b"d", b"e"], size=3)) == [b"abc", b"de"]


def test_clickhouse_blocks_are_unpacked_wherever_they_are_cut() -> None:
    raw = packed(b"first" * 1000) + packed(b"second") + packed(b"")
    for size in (1, 16, 17, 1000):
        cut: Iterator[bytes] = (raw[start : start + size] for start in range(0, len(raw), size))
        assert list(unpacked(cut)) == [b"first" * 1000, b"second", b""]


def test_a_damaged_or_cut_block_is_refused() -> None:
    raw = packed(os.urandom(1000))
    for wrong in (raw[:-1], raw[:20], raw[:100] + b"x" + raw[101:], b"\x00" * 16 + raw[16:]):
        with pytest.raises(EngineError) as refused:
            list(unpacked([wrong]))
        assert refused.value.code == CANNOT_DECOMPRESS


def test_a_block_that_says_it_is_huge_is_refused_unread() -> None:
    header = bytes(16) + b"\x82" + (LARGEST + 1).to_bytes(4, "little") + (1).to_bytes(4, "little")
    with pytest.raises(EngineError, match="larger than allowed"):
        list(unpacked([header]))


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.5, zstd", "zstd"),
        ("lz4, zstd", "lz4"),
        ("gzip;q=0, br", None),
        ("", None),
    ],
)
def test_an_answer_is_packed_as_the_client_accepts_it(accepted: str, encoding: str | None) -> None:
    assert encoder(accepted, compress=True, blocks=False).content_encoding == encoding


def test_no_answer_is_packed_unasked() -> None:
    assert encoder("gzip", compress=False, blocks=False).content_encoding is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
def test_what_an_encoder_packs_its_reader_unpacks(encoding: str) -> None:
    out = encoder(encoding, compress=True, blocks=False)
    raw = b"".join([out.add(PLAIN[:1000]), out.add(b""), out.add(PLAIN[1000:]), out.end()])
    assert b"".join(decoded(raw, encoding)) == PLAIN
    empty = encoder(encoding, compress=True, blocks=False)
    assert decoded(empty.end(), encoding) == []
