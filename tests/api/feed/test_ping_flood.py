"""A client that sends pings of the WebSocket itself, and reads no answer."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from api.access.ports import Access
from api.feed import entry
from api.feed.limits import FeedLimits
from api.server import FeedServer
from tests.api.access.keys import Keys
from tests.api.fakes import World, serving, world

PINGS = 16_000
MOST = 400_000
"""Bytes in the transport: its high-water mark, and the answers to all that is read at once."""
PATIENT = FeedLimits(heartbeat_s=600.0, send_timeout_s=600.0)


def frame(opcode: int, payload: bytes) -> bytes:
    """Of a client, masked with zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


@contextmanager
def reads_nothing(address: str) -> Iterator[socket.socket]:
    """A raw client that has been accepted."""
    host, port = address.split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect((host, int(port)))
        client.sendall(
            f"GET /v1/stream HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert client.recv(12) == b"HTTP/1.1 101"
        yield client


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, or fail."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def buffered(server: FeedServer) -> int:
    """Bytes that the transports hold."""
    return sum(each.transport.get_write_buffer_size() for each in list(server.server_state.connections))


@pytest.fixture(autouse=True)
def _the_kernel_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends no connection before we do."""
    monkeypatch.setattr("api.server.USER_TIMEOUT_MS", 60_000)


def test_answers_that_nobody_reads_do_not_pile_up_and_the_newest_comes() -> None:
    of = world(limits=PATIENT)
    with serving(of) as (address, server), reads_nothing(address) as client:
        client.sendall(frame(9, b"x" * 125) * PINGS + frame(9, b"the newest"))
        client.sendall(frame(1, b'{"op":"subscribe","channels":["bars"],"symbols":["*"]}'))
        until(lambda: any(each.subscriptions.wants_all("bars") for each in list(of.hub.clients)))
        assert 0 < buffered(server) < MOST
        client.settimeout(20)
        received = b""
        while bytes([0x8A, len("the newest")]) + b"the newest" not in received[-200_000:]:
            received += client.recv(100_000)
        assert len(received) < PINGS * 127


def test_who_is_sent_away_and_reads_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "AUTH_WITHIN_S", 0.2)
    of = World(access=Access(Keys()), limits=FeedLimits(send_timeout_s=0.2))
    with serving(of) as (address, server), reads_nothing(address) as client:
        client.sendall(frame(9, b"x" * 125) * PINGS)
        assert server.server_state.tasks
        until(lambda: not server.server_state.tasks)
        assert buffered(server) < MOST
    assert b'tickwire_feed_closed_total{reason="auth_too_late"} 1.0' in of.telemetry.exposition()
