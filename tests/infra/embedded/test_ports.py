"""Ports that nobody has, and that nobody will be given soon."""

import socket
import subprocess
import sys

from infra.embedded.ports import free_port


def test_a_taken_port_gives_the_next_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = free_port(port)
        assert port < other < port + 100
        assert free_port(other) == other
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        assert free_port(everywhere.getsockname()[1]) != everywhere.getsockname()[1]


def test_a_port_is_kept_from_other_processes_also_while_nothing_listens() -> None:
    port = free_port()
    asks = f"from infra.embedded.ports import free_port; print(free_port({port}))"
    told = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout
    assert port < int(told) < port + 100
    assert free_port(port) == port


def test_any_free_port_is_below_those_of_outgoing_connections() -> None:
    assert all(20_000 <= free_port() < 32_000 for _ in range(20))
