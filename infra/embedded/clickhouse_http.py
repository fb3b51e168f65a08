"""ClickHouse's HTTP interface over the embedded engine: one thread a connection, kept alive, loopback only."""

import threading
from http.server import ThreadingHTTPServer
from typing import Any, Final

from infra.embedded.chdb_engine import Engine
from infra.embedded.http_connection import Connection, HttpLimits

HOST: Final = "127.0.0.1"
FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 21\r\nConnection: close\r\n\r\nToo many connections\n"
)


class ClickHouseServer(ThreadingHTTPServer):
    """Serves one engine until `stop`; the port is taken when it is made."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, engine: Engine, port: int, limits: HttpLimits | None = None) -> None:
        self.engine = engine
        self.limits = limits or HttpLimits()
        self.stopping = False
        self._open: set[Connection] = set()
        self._changed = threading.Condition()
        super().__init__((HOST, port), Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            full = len(self._open) >= self.limits.connections
        if full:
            request.sendall(FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def entered(self, connection: Connection) -> None:
        with self._changed:
            self._open.add(connection)

    def left(self, connection: Connection) -> None:
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def stop(self, *, within_s: float) -> bool:
        """Take no more requests, let the running ones end, and cut off those that do not in time; whether all ended then."""
        self.stopping = True
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                connection.hang_up_if_idle()
            if self._changed.wait_for(lambda: not self._open, timeout=within_s):
                return True
        self.engine.cancel()
        with self._changed:
            for connection in self._open:
                connection.hang_up()
            return self._changed.wait_for(lambda: not self._open, timeout=within_s)
