"""Rows 30 and 31 of the fault matrix: a burst, and a sink that is slow or dead. The source pauses, memory stays flat under a cap,
the lag is seen and drains, and the history is exact."""

import time

import pytest

from schemas.events import Trade
from tests.faults.matrix.stage import MIB, Stage, stays
from tests.faults.proxy import Fault
from tests.logs import START
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(200)]
SYMBOLS = 8
SLOW = 200_000
"""Events that a slow sink is given: more than rows can be on their way to it (`streams.blocks.MOST_ROWS`, four times)."""
DEAD = 250_000
"""Events that a dead sink is given: of these more than 100,000 are not read."""
CAP_MIB = 250
"""What a backlog may cost above an idle process: 2 partitions of librdkafka's 32 MiB, polls, blocks and their rows, twice."""


def burst(n: int, first: int = 0) -> list[Trade]:
    """Trades of a few symbols, a thousand a second of the market's time."""
    return [
        Trade(
            symbol=f"M{i % SYMBOLS}", venue="V", seq=i + 1, ts_event=START + i * 1_000_000, ts_ingest=START + i * 1_000_000,
            price=10.0 + i % 97 / 10, size=1.0 + i % 5,
        )
        for i in range(first, first + n)
    ]  # fmt: skip


def lag(stage: Stage) -> int:
    status = stage.status()
    return 0 if status is None else sum(status.lag.values())


def stands(stage: Stage, beyond: int) -> bool:
    """More than so many records wait, and two seconds later as many: nothing is read any more."""
    seen = lag(stage)
    time.sleep(2)
    return beyond < seen == lag(stage)


def capped(mib: int) -> list[str]:
    """A command that may map so much memory and no more."""
    return ["prlimit", f"--as={mib * MIB}"]


@pytest.fixture(scope="module")
def idle_mib(shared: Stage) -> int:
    """Address space of a scoring process that has folded a little: what a cap is put on top of."""
    with shared.scores() as scoring:
        shared.write(burst(2_000))
        shared.exact()
        return scoring.virtual() // MIB


def test_under_a_cap_a_slow_sink_holds_back_the_source_and_a_large_backlog_drains(shared: Stage, idle_mib: int) -> None:
    events = burst(SLOW, first=2_000)
    with shared.scores(capped(idle_mib + CAP_MIB), FP="sink.before_insert:sleep=0.5") as scoring:
        rss = scoring.rss()
        shared.write(events)
        until("lag", lambda: lag(shared) > 10_000, within_s=30)
        assert scoring.metric("score_lag_records") > 0
        peak = 0

        def drained() -> bool:
            nonlocal peak
            peak = max(peak, scoring.rss())
            return lag(shared) == 0

        until("a backlog that drains", drained, within_s=90)
        assert peak < rss + CAP_MIB * MIB
        shared.exact()


def test_under_a_cap_a_dead_sink_stops_the_source_and_memory_stays_flat_while_the_topic_grows(
    shared: Stage, idle_mib: int
) -> None:
    with shared.scores(capped(idle_mib + CAP_MIB)) as scoring:
        shared.exact()
        shared.services.clickhouse.set(Fault.refuse())
        at, idle = shared.ends(), scoring.rss()
        shared.write(burst(DEAD, first=2_000 + SLOW))
        until("a source that stands still", lambda: stands(shared, 100_000), within_s=40)
        rss = scoring.rss()
        stays("flat memory", lambda: scoring.alive() and scoring.rss() < rss + 40 * MIB, 5)
        assert scoring.rss() < idle + CAP_MIB * MIB
        assert sum(shared.ends().values()) - sum(at.values()) == DEAD
        shared.services.heal()
        shared.exact(within_s=90)
        until("no lag", lambda: lag(shared) == 0, within_s=60)
