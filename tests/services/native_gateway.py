"""The native protocol of a current ClickHouse in front of one that speaks HTTP: the embedded engine.

No current clickhouse-server installs as a package here, so what Debian's of 2018 cannot (parameters, insert tokens, Bool,
DateTime64, sparse columns) is proven by the real driver on one side and ClickHouse's real engine on the other; between them this
file only carries bytes. Protocol revision 54468; https://clickhouse.com/docs/native-protocol.
"""

import http.client
import io
import re
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode

from clickhouse_cityhash.cityhash import CityHash128  # type: ignore[import-untyped]
from lz4 import block as lz4

from infra.native_format import text, varint
from infra.native_reader import Stream, read_column, read_text, read_varint
from tests.services.processes import HOST

REVISION: Final = 54468
HELLO, QUERY, DATA, PING = 0, 1, 2, 4
SENDS_HELLO, SENDS_DATA, SENDS_EXCEPTION, SENDS_PONG, SENDS_END, SENDS_PROFILE_EVENTS = 0, 1, 2, 4, 5, 14
BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
EMPTY_BLOCK: Final = BLOCK_INFO + b"\x00\x00"
LZ4: Final = 0x82
END_OF_GRANULE: Final = 1 << 62
SPARSE_SIZES: Final = {"Bool": 1, "UInt8": 1, "Int64": 8, "Float64": 8, "DateTime64(9, 'UTC')": 8}


class Recorder:
    """A stream that remembers what was read from it."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.seen = stream, bytearray()

    def read(self, size: int, /) -> bytes:
        taken = self.stream.read(size)
        self.seen += taken
        return taken


@contextmanager
def native_gateway(http_port: int) -> Iterator[str]:
    """A `native://` URL for the ClickHouse that serves HTTP on this port."""

    class Session(_Session):
        upstream = http_port

    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer((HOST, 0), Session) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"native://default@{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()


class _Session(socketserver.StreamRequestHandler):
    upstream: int
    compressed = False
    database = "default"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while packet := self.rfile.read(1):
            if packet[0] == HELLO:
                self.greet()
            elif packet[0] == PING:
                self.send(varint(SENDS_PONG))
            elif packet[0] == QUERY:
                self.query()
            else:
                raise AssertionError(f"unexpected packet {packet[0]}")

    def send(self, *parts: bytes) -> None:
        self.wfile.write(b"".join(parts))

    def greet(self) -> None:
        read_text(self.rfile)  # the client's name; then its version and revision
        _, _, revision = (read_varint(self.rfile) for _ in range(3))
        assert revision >= REVISION, f"the driver speaks revision {revision}, this gateway {REVISION} only"
        self.database, _, _ = (str(read_text(self.rfile)) for _ in range(3))  # then user and password
        version = varint(26) + varint(9) + varint(REVISION)
        self.send(varint(SENDS_HELLO), text("ClickHouse"), version, text("UTC"), text("gateway"), varint(1))
        self.send(varint(0), struct.pack("<Q", 0))  # no password rules; nonce
        read_text(self.rfile)  # the quota key

    def query(self) -> None:
        query_id = str(read_text(self.rfile))
        self.client_info()
        settings = self.named_values()
        read_text(self.rfile)  # secret between servers
        read_varint(self.rfile)  # stage
        self.compressed = bool(read_varint(self.rfile))
        sql = str(read_text(self.rfile))
        given = {f"param_{name}": _restored(value) for name, value in self.named_values().items()}
        assert self.rfile.read(1)[0] == DATA
        assert self.block().columns == 0  # no external tables
        try:
            if insert := re.fullmatch(r"INSERT INTO (\S+) \((.*)\) VALUES", sql):
                self.insert(insert[1], insert[2], {**settings, "query_id": query_id})
            else:
                self.select(sql, {**settings, **given, "query_id": query_id})
        except _Refused as refused:
            code, message = int(refused.args[0]), refused.args[1]
            self.send(varint(SENDS_EXCEPTION), struct.pack("<i", code), text("DB::Exception"), text(message), text(""))
            self.send(b"\0")

    def client_info(self) -> None:
        assert self.rfile.read(1) == b"\1"  # an initial query
        _, _, _ = (read_text(self.rfile) for _ in range(3))
        assert self.rfile.read(9)[8] == 1  # start time, then TCP
        _, _, _ = (read_text(self.rfile) for _ in range(3))
        _, _, _ = (read_varint(self.rfile) for _ in range(3))
        read_text(self.rfile)
        _, _ = (read_varint(self.rfile) for _ in range(2))
        assert self.rfile.read(1) == b"\0"  # no trace
        _, _, _ = (read_varint(self.rfile) for _ in range(3))

    def named_values(self) -> dict[str, str]:
        values = {}
        while name := str(read_text(self.rfile)):
            self.rfile.read(1)  # flags
            values[name] = str(read_text(self.rfile))
        return values

    def insert(self, table: str, names: str, settings: Mapping[str, str]) -> None:
        described = _Parsed(io.BytesIO(self.ask({}, f"DESCRIBE TABLE {table} FORMAT Native")), plain=True)
        types = dict(zip(*described.values[:2], strict=True))
        wanted = [name.replace("``", "`") for name in re.findall(r"`((?:``|[^`])*)`", names)]
        if missing := [name for name in wanted if name not in types]:
            raise _Refused("16", f"No such column {missing[0]} in table {table}")
        heads = [text(name) + text(types[name]) + b"\0" for name in wanted]
        self.data(BLOCK_INFO + varint(len(wanted)) + varint(0) + b"".join(heads))
        body, columns = b"", -1
        while columns:
            if self.rfile.read(1) != bytes((DATA,)):
                return  # the client hung up: nothing of its block was stored
            block = self.block()
            body, columns = body + (block.native if block.columns else b""), block.columns
            self.send(varint(SENDS_PROFILE_EVENTS), text(""), EMPTY_BLOCK)
        self.ask({**settings, "query": f"INSERT INTO {table} ({names}) FORMAT Native"}, body)
        self.send(varint(SENDS_END))

    def select(self, sql: str, settings: Mapping[str, str]) -> None:
        reads = re.match(r"\s*(SELECT|DESCRIBE|SHOW|WITH|EXISTS)", sql, re.I)
        answer = self.ask(settings, f"{sql}\nFORMAT Native" if reads else sql)
        stream = io.BytesIO(answer)
        headed = False
        while reads and stream.tell() < len(answer):
            block = _Parsed(stream, plain=True)
            if not headed:
                self.data(block.header())
                headed = True
            self.data(block.for_a_client())
        if reads and not headed and sql.lstrip()[:6].upper() == "SELECT":
            names, types = _Parsed(
                io.BytesIO(self.ask(settings, f"DESCRIBE TABLE ({sql}) FORMAT Native")), plain=True
            ).values[:2]
            heads = [text(name) + text(type_) + b"\0" for name, type_ in zip(names, types, strict=True)]
            self.data(BLOCK_INFO + varint(len(heads)) + varint(0) + b"".join(heads))
        self.send(varint(SENDS_END))

    def ask(self, settings: Mapping[str, str], body: str | bytes) -> bytes:
        connection = http.client.HTTPConnection(HOST, self.upstream, timeout=60)
        try:
            payload = body.encode() if isinstance(body, str) else body
            query = {"database": self.database, **settings, "wait_end_of_query": "1"}
            connection.request("POST", f"/?{urlencode(query)}", payload)
            reply = connection.getresponse()
            answer = reply.read()
        finally:
            connection.close()
        if reply.status != http.client.OK:
            message = answer.decode()
            code = re.match(r"Code: (\d+)", message)
            raise _Refused(code[1] if code else "1002", message.partition("DB::Exception: ")[2] or message)
        return answer

    def block(self) -> "_Parsed":
        read_text(self.rfile)  # table name
        if not self.compressed:
            return _Parsed(self.rfile, plain=False)
        checksum, header = self.rfile.read(16), self.rfile.read(9)
        method, size, whole = struct.unpack("<BII", header)
        content = self.rfile.read(size - 9)
        assert method == LZ4
        assert _checksum(header + content) == checksum
        return _Parsed(io.BytesIO(lz4.decompress(content, uncompressed_size=whole)), plain=False)

    def data(self, block: bytes) -> None:
        if self.compressed:
            content = lz4.compress(block, store_size=False)
            framed = struct.pack("<BII", LZ4, len(content) + 9, len(block)) + content
            block = _checksum(framed) + framed
        self.send(varint(SENDS_DATA), text(""), block)


class _Refused(Exception):
    """The engine's code and message."""


class _Parsed:
    """A block and where its columns begin and end; `plain` as over HTTP, else as the native protocol adds to it."""

    def __init__(self, stream: Stream, *, plain: bool) -> None:
        if not plain:
            assert stream.read(len(BLOCK_INFO)) == BLOCK_INFO
        self.columns, self.rows = read_varint(stream), read_varint(stream)
        self.heads: list[bytes] = []
        self.types: list[str] = []
        self.bodies: list[bytes] = []
        self.values: list[list[Any]] = []
        for _ in range(self.columns):
            name, type_ = str(read_text(stream)), str(read_text(stream))
            self.heads.append(text(name) + text(type_))
            self.types.append(type_)
            assert plain or stream.read(1) == b"\0", "the driver does not write sparse columns"
            recorder = Recorder(stream)
            self.values.append(read_column(recorder, name, type_, self.rows) if self.rows else [])
            self.bodies.append(bytes(recorder.seen))

    @property
    def native(self) -> bytes:
        """As FORMAT Native has it."""
        columns = [head + body for head, body in zip(self.heads, self.bodies, strict=True)]
        return varint(self.columns) + varint(self.rows) + b"".join(columns)

    def header(self) -> bytes:
        """The same columns without rows, as it comes first in a reply."""
        return BLOCK_INFO + varint(self.columns) + varint(0) + b"".join(head + b"\0" for head in self.heads)

    def for_a_client(self) -> bytes:
        """As a server sends it: columns that are mostly zeros are sparse."""
        sent = [
            head + (_sparse(body, self.rows, SPARSE_SIZES[type_]) if type_ in SPARSE_SIZES else b"\0" + body)
            for head, type_, body in zip(self.heads, self.types, self.bodies, strict=True)
        ]
        return BLOCK_INFO + varint(self.columns) + varint(self.rows) + b"".join(sent)


def _checksum(content: bytes) -> bytes:
    both = CityHash128(content)
    return struct.pack("<QQ", both >> 64, both & (1 << 64) - 1)


def _sparse(body: bytes, rows: int, size: int) -> bytes:
    """Runs of zeros as their lengths, then the values between them; as it is where fewer than half are zeros."""
    cells = [body[i * size : (i + 1) * size] for i in range(rows)]
    kept = [i for i, cell in enumerate(cells) if any(cell)]
    if 2 * len(kept) > rows:
        return b"\0" + body
    runs = [here - before - 1 for before, here in zip([-1, *kept], kept, strict=False)]
    last = rows - 1 - (kept[-1] if kept else -1)
    return b"\1\1" + b"".join(map(varint, [*runs, last | END_OF_GRANULE])) + b"".join(cells[i] for i in kept)


def _restored(dumped: str) -> str:
    """The text of a parameter, out of the quotes that the protocol puts it in."""
    escapes = {"b": "\b", "f": "\f", "r": "\r", "n": "\n", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}
    return re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), dumped[1:-1], flags=re.S)
