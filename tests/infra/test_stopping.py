"""A process ends soon after it was told to, whatever it waits for."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.services.processes import HOST

ROOT = Path(__file__).parents[2]
HEAD = """
import sys
from infra.stopping import Stop, ending
stop = Stop()
stop.on_signals()
port = int(sys.argv[1])
"""
HANGS = {
    "kafka": """
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "message.timeout.ms": 600000})
producer.produce("t", b"x")
print("hangs", flush=True)
producer.flush(600)
""",
    "clickhouse": """
from infra.clickhouse import connect
from infra.tables import ClickHouseTables
from tests.infra.writer_process import TABLE, block
print("hangs", flush=True)
ClickHouseTables(connect(f"http://127.0.0.1:{port}", timeout_s=600), "tickwire", "log").insert(TABLE, block(0), "t")
""",
    "redis": """
from infra.redis import LatestStore
print("hangs", flush=True)
LatestStore(f"redis://127.0.0.1:{port}/0", ttl_s=1, timeout_s=600).symbols()
""",
}


def told_to_end(code: str, port: int, number: signal.Signals) -> tuple[int, float]:
    """Exit status, and seconds from the signal to the end."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + code, str(port)], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        began = monotonic()
        process.send_signal(number)
        return process.wait(30), monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("service", list(HANGS))
def test_a_service_that_hangs_keeps_nobody(service: str, number: signal.Signals) -> None:
    with socket.create_server((HOST, 0)) as mute:
        code, seconds = told_to_end(HANGS[service], mute.getsockname()[1], number)
    assert code == 0
    assert seconds < 5


def test_a_process_that_listens_is_left_to_end_by_itself() -> None:
    code, seconds = told_to_end(
        """
with ending(stop):
    print("hangs", flush=True)
    stop.wait(600)
sys.exit(7)
""",
        0,
        signal.SIGTERM,
    )
    assert code == 7
    assert seconds < 2
