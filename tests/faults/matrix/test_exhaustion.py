"""Row 42 of the fault matrix: no file descriptors for new clients, and no memory to score in."""

import http.client
import re
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.faults.matrix.stage import Stage
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
    with closing(http.client.HTTPConnection(HOST, api, timeout=10)) as there, ExitStack() as crowd:
        asked(there)
        for _ in range(2 * DESCRIPTORS):
            crowd.enter_context(socket.create_connection((HOST, api), timeout=5))
        assert not answers(api), "somebody new was let in: nothing was exhausted"
        asked(there)
    until("an answer to somebody new", lambda: answers(api), within_s=30)


def asked(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/healthz")
    reply = client.getresponse()
    assert (reply.status, reply.read()) == (200, b'{"status":"ok"}')


def test_out_of_memory_scoring_stops_and_nothing_is_lost_or_doubled(shared: Stage) -> None:
    with shared.scores() as scoring:
        shared.write(burst(1_000))
        shared.exact()
        (line,) = re.findall(r"^VmData:\s*(\d+) kB$", Path(f"/proc/{scoring.pid}/status").read_text(), re.MULTILINE)
        now = int(line) * 1024
        resource.prlimit(scoring.pid, resource.RLIMIT_DATA, (now, now))  # whatever it takes from here on fails
        shared.write(burst(60_000, first=1_000))
        until("an end for want of memory", lambda: not scoring.alive(), within_s=60)
        assert scoring.code(1) != 0
    with shared.scores():
        shared.exact(within_s=60)
