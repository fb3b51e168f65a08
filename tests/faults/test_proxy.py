"""The chaos proxy does what is asked of it, and nothing else: every mode against a server that answers in capitals."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import ChaosProxy, Fault
from tests.services.processes import HOST


class Upper(socketserver.ThreadingTCPServer):
    """Answers every piece in capitals, says `bye` at the end of input, and remembers what it was told."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.heard = bytearray()
        super().__init__((HOST, 0), _Answer)


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Upper)
        try:
            while piece := self.request.recv(65_536):
                self.server.heard += piece
                self.request.sendall(piece.upper())
            self.request.sendall(b"bye")
        except OSError:
            pass  # the proxy resets connections: that is its job


@pytest.fixture
def server() -> Iterator[Upper]:
    with Upper() as upper:
        threading.Thread(target=upper.serve_forever, args=(0.02,), daemon=True).start()
        yield upper
        upper.shutdown()


@pytest.fixture
def proxy(server: Upper) -> Iterator[ChaosProxy]:
    with ChaosProxy(server.server_address[1]) as made:
        yield made


@pytest.fixture
def client(proxy: ChaosProxy) -> Iterator[socket.socket]:
    with dial(proxy) as made:
        yield made


def dial(proxy: ChaosProxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=5)


def ask(client: socket.socket, what: bytes) -> bytes:
    client.sendall(what)
    return read(client, len(what))


def read(client: socket.socket, most: int) -> bytes:
    answer = b""
    while len(answer) < most and (piece := client.recv(most - len(answer))):
        answer += piece
    return answer


def test_calm_it_passes_every_byte_and_the_end_of_both_directions(client: socket.socket) -> None:
    long = bytes(range(97, 123)) * 20_000
    sender = threading.Thread(target=client.sendall, args=(long,))
    sender.start()
    assert read(client, len(long)) == long.upper()
    sender.join()
    client.shutdown(socket.SHUT_WR)
    assert read(client, 10) == b"bye"


def test_a_delay_holds_each_piece_in_both_directions_and_ends_when_it_is_healed(
    proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.set(Fault.delay(1.0))
    began = time.monotonic()
    assert ask(client, b"a") == b"A"
    assert time.monotonic() - began >= 2.0
    proxy.heal()
    began = time.monotonic()
    assert ask(client, b"b") == b"B"
    assert time.monotonic() - began < 1.0


def test_a_throttle_lets_so_many_bytes_a_second_through(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.set(Fault.throttle(20_000))
    began = time.monotonic()
    assert ask(client, b"x" * 8_000) == b"X" * 8_000
    assert time.monotonic() - began >= 0.35
    proxy.heal()
    assert ask(client, b"y" * 8_000) == b"Y" * 8_000


def test_a_black_hole_accepts_and_answers_nothing_and_resets_what_lost_bytes(
    server: Upper, proxy: ChaosProxy, client: socket.socket
) -> None:
    assert ask(client, b"a") == b"A"
    proxy.set(Fault.blackhole())
    with dial(proxy) as late:
        for each in (client, late):
            each.settimeout(0.2)
            each.sendall(b"lost")
            with pytest.raises(TimeoutError):
                each.recv(1)
        assert bytes(server.heard) == b"a"
        proxy.heal()
        for each in (client, late):
            each.settimeout(5)
            with pytest.raises(ConnectionResetError):
                each.recv(1)
    with dial(proxy) as again:
        assert ask(again, b"b") == b"B"


def test_refusing_it_listens_no_longer_and_resets_what_is_open(proxy: ChaosProxy, client: socket.socket) -> None:
    assert ask(client, b"a") == b"A"
    proxy.set(Fault.refuse())
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    proxy.heal()
    with dial(proxy) as again:
        assert ask(again, b"b") == b"B"


def test_a_reset_is_a_reset_for_client_and_server(server: Upper, proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.set(Fault.reset())
    client.sendall(b"a")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert bytes(server.heard) == b""
    assert proxy.hits == 1


def test_half_closed_towards_the_client_it_still_hears_the_client(
    server: Upper, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.set(Fault.half_close("client"))
    client.sendall(b"a")
    assert client.recv(10) == b""
    client.sendall(b"b")
    deadline = time.monotonic() + 5
    while bytes(server.heard) != b"ab":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_half_closed_towards_the_server_it_still_hears_the_server(proxy: ChaosProxy, client: socket.socket) -> None:
    assert ask(client, b"a") == b"A"
    proxy.set(Fault.half_close("server"))
    client.sendall(b"b")
    assert read(client, 10) == b"bye"


@pytest.mark.parametrize("after", [1, 5, 9])
def test_an_answer_is_cut_after_so_many_bytes(proxy: ChaosProxy, client: socket.socket, after: int) -> None:
    proxy.set(Fault.cut(after))
    client.sendall(b"0123456789")
    assert read(client, after) == b"0123456789"[:after]
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_request_is_cut_after_so_many_bytes(server: Upper, proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.set(Fault.cut(4, "server"))
    client.sendall(b"0123456789")
    with pytest.raises(ConnectionResetError):
        read(client, 10)
    assert bytes(server.heard) == b"0123"


def test_only_the_answer_is_dropped_and_the_request_has_passed(
    server: Upper, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.set(Fault.drop_reply())
    client.sendall(b"do it")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert bytes(server.heard) == b"do it"


def test_a_fault_may_wait_for_a_word_and_end_after_so_many_hits(server: Upper, proxy: ChaosProxy) -> None:
    proxy.set(Fault.drop_reply(b"INSERT", times=2))
    for _ in range(2):
        with dial(proxy) as client:
            assert ask(client, b"select") == b"SELECT"
            client.sendall(b"INSERT")
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    with dial(proxy) as client:
        assert ask(client, b"INSERT again") == b"INSERT AGAIN"
    assert server.heard.count(b"INSERT") == 3
