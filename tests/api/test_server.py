"""The API as a process: what its socket is set to, and how it stops."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from api.server import listen
from tests.api.fakes import client_of

PROGRAM = """
import sys
from api.server import listen, serve
from tests.api.fakes import world

of = world()
listener = listen("127.0.0.1", int(sys.argv[1]))
print(listener.getsockname()[1], flush=True)
serve(of.app(), of.hub, listener)
print("cleaned up", flush=True)
"""


@pytest.fixture
def process() -> Iterator["subprocess.Popen[str]"]:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, "0"], stdout=subprocess.PIPE, text=True, cwd=root) as started:
        yield started
        started.kill()


def address_of(process: "subprocess.Popen[str]") -> str:
    """Where it listens; connections wait in the backlog until it accepts."""
    assert process.stdout is not None
    return f"127.0.0.1:{process.stdout.readline().strip()}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_goodbye_in_five_seconds_and_lets_its_caller_clean_up(
    process: "subprocess.Popen[str]", number: int
) -> None:
    async def conversation() -> None:
        async with client_of(address_of(process)) as client:
            process.send_signal(number)
            assert (await client.next())["type"] == "goodbye"
            with pytest.raises(websockets.ConnectionClosed):
                await client.next()

    asyncio.run(conversation())
    began = time.monotonic()
    out, _ = process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert (process.returncode, out) == (0, "cleaned up\n")


def test_a_client_that_does_not_listen_does_not_hold_up_the_end(process: "subprocess.Popen[str]") -> None:
    host, port = address_of(process).split(":")
    with socket.create_connection((host, int(port))) as silent:
        silent.sendall(
            b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert silent.recv(12) == b"HTTP/1.1 101"
        began = time.monotonic()
        process.terminate()
        process.communicate(timeout=10)
        assert time.monotonic() - began < 5
    assert process.returncode == 0


def test_the_socket_bounds_what_a_connection_can_hold_and_for_how_long() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 256 * 1024  # Linux doubles it for itself
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5_000


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(OSError, match="Address already in use"):
        listen("127.0.0.1", listener.getsockname()[1])
