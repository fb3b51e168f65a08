"""How large the head of a request may be and how long it may take: uvicorn bounds neither."""

import asyncio
from asyncio import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 16 * 1024
"""Of all headers together; one that is larger is answered with 400. So is a line of more than `MAX_LINE_BYTES`."""
MAX_LINE_BYTES: Final = 8_000
"""websockets reads no longer ones, and would leave the connection hanging."""
HEAD_WITHIN_S: Final = 10.0


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP, but whoever sends a head without end or slowly is let go."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head, self._received, self._counted = True, 0, 0
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A head is due from now on."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes as long as no head is complete: a single header is told to nobody before its end."""
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._received += len(data)
        if self._received > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")
        elif self._deadline is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """The next request of the connection."""
        super().on_message_begin()
        self._in_head, self._received, self._counted = True, 0, 0

    def on_url(self, url: bytes) -> None:
        """The address counts, too."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Now the request has its own limits."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _count(self, length: int) -> None:
        self._counted += length
        if length > MAX_LINE_BYTES or self._counted > MAX_HEAD_BYTES:
            raise ValueError("the head of the request is too large")  # the parser makes a 400 of it

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_WITHIN_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
