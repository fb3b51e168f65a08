"""The API on a socket: uvicorn with one worker, and with the options that a feed needs."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from api.feed.hub import FeedHub
from api.feed.limits import MAX_MESSAGE_BYTES
from api.http_limits import BoundedHttp
from api.websocket_limits import BoundedWebSocket

SEND_BUFFER_BYTES: Final = 256 * 1024
USER_TIMEOUT_MS: Final = 5_000
PING_S: Final = 10.0
MAX_REQUESTS: Final = 500
"""Connections beside those of the feed; requests beyond are told to come back."""
GRACE_S: Final = 2
"""For requests that run when we are told to stop; after the feed's goodbye, which takes two seconds at most."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections can't hold much, nor for long, for a reader that stands still.

    uvicorn does not drop such a reader: it stays blocked in `send`. Accepted sockets inherit both options.
    Raises: `OSError` where the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the send timeout and pings have to do
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.bind((host, port))
        listener.listen(1_024)
    except OSError:
        listener.close()
        raise
    return listener


class FeedServer(uvicorn.Server):
    """uvicorn that lets the feed say goodbye before connections are closed, and leaves signals to end only itself."""

    def __init__(self, app: FastAPI, hub: FeedHub) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=BoundedHttp, ws=BoundedWebSocket, ws_max_size=MAX_MESSAGE_BYTES, ws_per_message_deflate=False,
                ws_ping_interval=PING_S, ws_ping_timeout=PING_S, timeout_graceful_shutdown=GRACE_S, lifespan="on",
                limit_concurrency=hub.limits.max_clients + MAX_REQUESTS,
                access_log=False, server_header=False, log_config=None,
            )
        )  # fmt: skip
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop within five seconds."""
        await self._hub.say_goodbye()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT. uvicorn would raise them once more, and what `serve` cleans up would not run."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal asks, the second one insists."""
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(app: FastAPI, hub: FeedHub, listener: socket.socket) -> None:
    """Serve `app` on `listener` (see `listen`) until SIGTERM or SIGINT; returns within five seconds of it."""
    FeedServer(app, hub).run(sockets=[listener])
