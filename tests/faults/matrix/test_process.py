"""Rows 4, 5, 43 and 44: a process that is told to stop, is stopped and goes on, or cannot begin."""

import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import Stage
from tests.faults.proxy import ChaosProxy, Fault
from tests.services.processes import HOST, free_ports, until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
MARKET = Market(seed=13)
REFUSED = 75


@pytest.mark.parametrize("clickhouse", ["answers", "is gone"])
def test_told_to_stop_it_ends_within_five_seconds_and_leaves_no_partial_bar(shared: Stage, clickhouse: str) -> None:
    with shared.scores() as scoring:
        shared.write(MARKET.more(2_000))
        until("rows", lambda: shared.committed() > 0, within_s=60)
        if clickhouse == "is gone":
            shared.services.clickhouse.set(Fault.blackhole())
        shared.write(MARKET.more(8_000))
        began = time.monotonic()
        scoring.sends(signal.SIGTERM)
        assert scoring.code(8) == 0, scoring.tail()
        assert time.monotonic() - began < 5
    shared.services.heal()
    with shared.scores():
        shared.exact()  # raw rows are never taken back: a bar that was cut short would still be there


def test_one_that_was_stopped_for_longer_than_its_lease_does_not_write_when_it_goes_on(shared: Stage) -> None:
    lease = {"TICKWIRE_FOLD__LEASE": "3", "TICKWIRE_FOLD__EPOCH": "0.3"}
    elsewhere = replace(shared, folder=shared.folder / "elsewhere", same_log=shared)
    with shared.scores(**lease) as stopped:
        shared.write(MARKET.more(1_500))
        shared.exact()
        stopped.sends(signal.SIGSTOP)
        shutil.copytree(shared.folder / "data", elsewhere.folder / "data")
        shared.write(MARKET.more(1_500))
        with elsewhere.scores(**lease) as successor:
            shared.exact()
            stopped.sends(signal.SIGCONT)
            shared.write(MARKET.more(1_500))
            assert stopped.code(20) == REFUSED, stopped.tail()
            shared.exact()
            assert successor.alive()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server((HOST, 0)) as listener, ChaosProxy(listener.getsockname()[1]) as proxy:
        proxy.set(Fault.blackhole())
        yield proxy.port


@pytest.mark.parametrize(
    ("variable", "address", "told"),
    [
        ("TICKWIRE_KAFKA__BOOTSTRAP", "127.0.0.1:{port}", "Kafka at 127.0.0.1:{port} did not answer within 3 s"),
        (
            "TICKWIRE_CLICKHOUSE__URL",
            "http://127.0.0.1:{port}",
            "ClickHouse at http://127.0.0.1:{port}/default did not answer",
        ),
    ],
    ids=["kafka", "clickhouse"],
)
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "not there"])
def test_it_gives_up_at_its_start_with_a_clear_error_when_a_service_does_not_answer(
    shared: Stage, mute: int, variable: str, address: str, told: str, silent: bool
) -> None:
    port = mute if silent else free_ports(1)[0]
    scoring = shared.scoring(**{variable: address.format(port=port), "TICKWIRE_START_WITHIN": "3"})
    began = time.monotonic()
    scoring.start()
    assert scoring.code(25) == 1
    assert time.monotonic() - began < 20
    (line,) = [line for line in scoring.said().splitlines() if line.startswith("error: ")]
    assert told.format(port=port) in line
    assert "Traceback" not in scoring.said()


def test_it_begins_without_redis_and_tells_redis_when_it_is_there(shared: Stage) -> None:
    shared.services.redis.set(Fault.blackhole())
    scoring = shared.scoring()
    scoring.start()
    try:
        shared.write(MARKET.more(300))
        scoring.await_ready(lambda: shared.committed() > 0, within_s=30)
        shared.exact()
        assert shared.status() is None
        shared.services.heal()
        until("a status", lambda: shared.status() is not None, within_s=30)
    finally:
        scoring.stop(grace_s=8)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        (
            "TICKWIRE_KAFAK__BOOTSTRAP",
            "x",
            "TICKWIRE_KAFAK__BOOTSTRAP sets nothing; did you mean TICKWIRE_KAFKA__BOOTSTRAP?",
        ),
        ("TICKWIRE_FOLD__EPOCH", "soon", "TICKWIRE_FOLD__EPOCH: "),
        ("TICKWIRE_KAFKA__PARTITIONS", "0", "TICKWIRE_KAFKA__PARTITIONS: "),
        ("TICKWIRE_CLICKHOUSE__URL", "mysql://x", "expected a ClickHouse URL such as"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(shared: Stage, variable: str, value: str, told: str) -> None:
    scoring = shared.scoring(**{variable: value})
    scoring.start()
    assert scoring.code(20) == 2
    assert told in scoring.said()
    assert "Traceback" not in scoring.said()
