"""One client of ClickHouse's HTTP interface: its requests, one after the other, and their answers."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from infra.embedded.answers import EngineError, content_type
from infra.embedded.blocks import packed
from infra.embedded.bodies import BodyTooLarge, Transfer, pieces
from infra.embedded.chdb_engine import Engine, Progress
from infra.embedded.encoders import Encoder, encoder
from infra.embedded.exchange import Reply, answered
from infra.embedded.http_query import HttpQuery, is_form, read_form, read_query

LOCAL_NAMES: Final = frozenset(["localhost", "127.0.0.1", "[::1]", ""])
IDLE_S: Final = 600
"""Seconds a connection may wait for its next request, or a client may stall within one."""
LINGER_S: Final = 2.0
HEALTH_PATHS: Final = frozenset(["/ping", "/replicas_status"])
QUERY_PATHS: Final = frozenset(["/", "/query"])

log = logging.getLogger("tickwire.clickhouse")


@dataclass(frozen=True)
class HttpLimits:
    """`body`: bytes of one request, packed and unpacked. `connections`: held at a time."""

    body: int = 256 << 20
    connections: int = 128


class Serving(Protocol):
    """What a connection asks of the server that took it."""

    engine: Engine
    limits: HttpLimits
    stopping: bool

    def entered(self, connection: "Connection") -> None: ...
    def left(self, connection: "Connection") -> None: ...


class Connection(BaseHTTPRequestHandler):
    """One client's connection and its requests, one after the other."""

    server: Serving  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"
    server_version = "tickwire-clickhouse"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True
    rbufsize = 1 << 16
    wbufsize = 1 << 16

    def setup(self) -> None:
        super().setup()
        self.idle = True
        self.server.entered(self)

    def finish(self) -> None:
        self.server.left(self)
        super().finish()

    def hang_up_if_idle(self) -> None:
        """End the wait for a next request; one that has begun goes on."""
        if self.idle:
            self.hang_up(socket.SHUT_RD)

    def hang_up(self, how: int = socket.SHUT_RDWR) -> None:
        """Whoever reads from the client or writes to it stops waiting."""
        with suppress(OSError):  # it hung up itself
            self.connection.shutdown(how)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True
        self.idle = True
        self.close_connection = self.close_connection or self.server.stopping

    def parse_request(self) -> bool:
        self.idle = False
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        length = self.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > self.server.limits.body:
            return True  # answered with 413 instead of 100
        return super().handle_expect_100()

    def do_HEAD(self) -> None:
        self._plain(HTTPStatus.OK, "")

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path in HEALTH_PATHS or (url.path == "/" and not url.query):
            self._plain(HTTPStatus.OK, "Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        if not self._is_local():
            self._plain(
                HTTPStatus.FORBIDDEN, "Requests come from this machine, by its own name, and from no web page.\n"
            )
            self.close_connection = True
        elif urlsplit(self.path).path not in QUERY_PATHS:
            self._plain(HTTPStatus.NOT_FOUND, f"There is no handle {self.path}\n\nUse / or /ping for health checks.\n")
            self.close_connection = True
        else:
            self._serve()

    def _is_local(self) -> bool:
        """A web page that a browser shows may send requests here too; it cannot choose these headers.

        One in a sandbox, or from a file, sends the origin `null`: that is a page too, and has no name.
        """
        host = self.headers.get("Host", "").rpartition(":")
        name = host[0] if host[1] and host[2].isdigit() else self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        if origin is None:  # as of an image or a script, which a browser fetches for any page
            return name.lower() in LOCAL_NAMES and self.headers.get("Sec-Fetch-Site") != "cross-site"
        return name.lower() in LOCAL_NAMES and urlsplit(origin).hostname in LOCAL_NAMES

    def _serve(self) -> None:
        self._query_id = ""
        try:
            transfer = Transfer(self.rfile, self.headers, limit=self.server.limits.body)
        except (ValueError, BodyTooLarge) as error:
            self._too_large_or_wrong(error)
            return
        try:
            self._answer(transfer)
            while transfer.next_piece():  # what an error left unread
                pass
        except BodyTooLarge as error:
            self._too_large_or_wrong(error)

    def _answer(self, transfer: Transfer) -> None:
        try:
            query, body = self._read(transfer)
        except EngineError as error:
            self._error(error, packed_answer=False)
            return
        self._query_id = query.options.query_id
        out = encoder(self.headers.get("Accept-Encoding", ""), compress=query.compress, blocks=query.packed_answer)
        tag = uuid4().hex[:16]
        begun = False
        try:
            with answered(self.server.engine, query, body) as reply:
                begun = True
                self._reply(query, reply, out, tag)
        except EngineError as error:
            if begun:
                self._break_off(out, error.text(self.server.engine.version), tag)
            else:
                self._error(error, packed_answer=query.packed_answer)

    def _read(self, transfer: Transfer) -> tuple[HttpQuery, Iterator[bytes]]:
        encoding, limit = self.headers.get("Content-Encoding", ""), self.server.limits.body
        if is_form(self.headers):
            form = pieces(transfer, encoding, blocks=False, limit=limit)
            return read_form(self.path, self.headers, form, method=self.command), iter(())
        query = read_query(self.path, self.headers, method=self.command)
        return query, pieces(transfer, encoding, blocks=query.packed_body, limit=limit)

    def _reply(self, query: HttpQuery, reply: Reply, out: Encoder, tag: str) -> None:
        plain = out.content_encoding is None and not query.packed_answer
        self.send_response(HTTPStatus.OK)
        self._common_headers(query)
        self.send_header("X-ClickHouse-Summary", _summary(reply.progress))
        if reply.format is not None:
            self.send_header("Content-Type", content_type(reply.format))
            self.send_header("X-ClickHouse-Format", reply.format)
        if out.content_encoding is not None:
            self.send_header("Content-Encoding", out.content_encoding)
        if plain and reply.length is not None:
            self.send_header("Content-Length", str(reply.length))
            self.end_headers()
            for piece in reply.pieces:
                self.wfile.write(piece)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-ClickHouse-Exception-Tag", tag)
        self.end_headers()
        for piece in reply.pieces:
            self._chunk(out.add(piece))
        self._chunk(out.end())
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, piece: bytes) -> None:
        if piece:
            self.wfile.write(b"%x\r\n" % len(piece))
            self.wfile.write(piece)
            self.wfile.write(b"\r\n")

    def _break_off(self, out: Encoder, text: str, tag: str) -> None:
        """An error behind the first rows: a server's exception block, and a body that visibly has no end."""
        block = f"\r\n__exception__\r\n{tag}\r\n{text}{len(text.encode())} {tag}\r\n__exception__\r\n"
        self._chunk(out.add(block.encode()) + out.end())
        self.close_connection = True

    def _error(self, error: EngineError, *, packed_answer: bool) -> None:
        body = error.text(self.server.engine.version).encode()
        if packed_answer:
            body = packed(body)
        self.send_response(error.status)
        self._common_headers(None)
        self.send_header("X-ClickHouse-Exception-Code", str(error.code))
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _common_headers(self, query: HttpQuery | None) -> None:
        engine = self.server.engine
        zone = query.options.settings.get("session_timezone", "") if query else ""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-site")
        self.send_header("X-ClickHouse-Server-Display-Name", engine.display_name)
        self.send_header("X-ClickHouse-Timezone", zone or engine.timezone)
        if self._query_id:
            self.send_header("X-ClickHouse-Query-Id", self._query_id.replace("\r", " ").replace("\n", " "))
        self.send_header("Connection", "close" if self.server.stopping else "Keep-Alive")
        self.send_header("Keep-Alive", f"timeout={IDLE_S}")

    def _too_large_or_wrong(self, error: Exception) -> None:
        """Answer before the body has come, then read on for a moment: a client that still writes would miss the answer."""
        self.close_connection = True
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if isinstance(error, BodyTooLarge) else HTTPStatus.BAD_REQUEST
        self._plain(status, f"{error}\n")
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER_S
        self.connection.settimeout(LINGER_S)
        try:
            while time.monotonic() < deadline and self.connection.recv(1 << 16):
                pass
        except TimeoutError:
            return

    def _plain(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=UTF-8" if status == HTTPStatus.OK else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if status != HTTPStatus.OK:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _summary(progress: Progress) -> str:
    return json.dumps(
        {
            "read_rows": str(progress.read_rows),
            "read_bytes": str(progress.read_bytes),
            "written_rows": str(progress.written_rows),
            "written_bytes": str(progress.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(progress.result_rows),
            "result_bytes": str(progress.result_bytes),
            "elapsed_ns": str(round(progress.elapsed_s * 1e9)),
        },
        separators=(",", ":"),
    )
