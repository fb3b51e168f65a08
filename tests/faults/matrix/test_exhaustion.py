"""Row 42 of the fault matrix: no file descriptors for new clients, and no memory to score in."""

import http.client
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.matrix.stage import MIB, Stage
from tests.faults.matrix.test_memory import burst
from tests.services.processes import HOST, Program, free_ports, listens, until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(200)]
DESCRIPTORS = 96


@pytest.fixture
def api(shared: Stage, tmp_path: Path) -> Iterator[int]:
    """Port of an API that may open few files."""
    (port,) = free_ports(1)
    command = ["prlimit", f"--nofile={DESCRIPTORS}", sys.executable, "-m", "infra.cli", "api"]
    program = Program(command, tmp_path / "api.log", env=shared.environment | {"TICKWIRE_API__PORT": str(port)})
    program.start()
    program.await_ready(lambda: listens(port) and answers(port), within_s=60)
    yield port
    assert program.child is not None
    assert program.child.poll() is None, program.tail()
    program.stop()


def answers(port: int) -> bool:
    client = http.client.HTTPConnection(HOST, port, timeout=3)
    try:
        client.request("GET", "/healthz")
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()


def test_out_of_descriptors_the_api_serves_those_who_are_there_and_later_the_others(api: int) -> None:
    there = http.client.HTTPConnection(HOST, api, timeout=10)
    with ExitStack() as crowd:
        for ask in range(3):
            there.request("GET", "/healthz")
            reply = there.getresponse()
            assert (reply.status, reply.read()) == (200, b'{"status":"alive"}'), ask
            for _ in range(DESCRIPTORS):
                crowd.enter_context(socket.create_connection((HOST, api), timeout=5))
        assert not answers(api), "somebody new was let in: nothing was exhausted"
        there.request("GET", "/healthz")
        assert there.getresponse().status == 200
    there.close()
    until("an answer to somebody new", lambda: answers(api), within_s=30)


def test_out_of_memory_scoring_stops_and_nothing_is_lost_or_doubled(shared: Stage) -> None:
    with shared.scores() as scoring:
        shared.write(burst(1_000))
        shared.exact()
        idle_mib = scoring.virtual() // MIB
    shared.write(burst(30_000, first=1_000))
    starved = shared.scoring(["prlimit", f"--as={(idle_mib - 40) * MIB}"])
    starved.start()
    assert starved.code(90) != 0, "that was memory enough"
    with shared.scores():
        shared.exact(within_s=60)
