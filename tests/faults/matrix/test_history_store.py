"""Rows 9 to 13 and 31: a ClickHouse that is cut off, in doubt, gone, full, slow, or does not let us write."""

from collections.abc import Mapping

import pytest

from schemas.rows import ScoreStatus
from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import MIB, Scoring, Stage, stays
from tests.faults.proxy import Fault
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
MARKET = Market(seed=11)
INSERT = b"INSERT"
PAUSE_NS = 3 * 10**9
"""Between two statuses that say the same; one comes every second, and an epoch of the stage is half of one."""


@pytest.mark.parametrize(
    "fault",
    [
        Fault.drop_reply(INSERT, times=5),
        Fault.cut(20, matching=INSERT, times=5),
        Fault.cut(900, "server", matching=INSERT, times=5),
    ],
    ids=["answer dropped", "answer cut", "request cut"],
)
def test_an_insert_in_doubt_is_stored_once_and_raw_rows_prove_it(shared: Stage, live: Scoring, fault: Fault) -> None:
    shared.services.clickhouse.set(fault)
    shared.write(MARKET.more(2_000))
    shared.exact()
    assert shared.services.clickhouse.hits >= 5
    assert live.alive()


@pytest.mark.parametrize("fault", [Fault.refuse(), Fault.blackhole()], ids=["refused", "black hole"])
def test_without_clickhouse_no_epoch_ends_the_source_pauses_and_memory_is_flat(
    shared: Stage, live: Scoring, fault: Fault
) -> None:
    shared.exact()
    stored = shared.count("predictions")
    shared.services.clickhouse.set(fault)
    before = shared.records()
    shared.write(MARKET.more(1_000))
    at = _paused(shared, before)
    shared.write(MARKET.more(30_000))
    rss = live.rss()
    stays("a pause", lambda: live.alive() and live.rss() < rss + 50 * MIB, 4)
    status = _status(shared)
    assert status.offsets == at, "the source went on although nothing is stored"
    assert sum(status.lag.values()) > 0
    assert shared.count("predictions") == stored
    shared.services.heal()
    shared.exact()
    until("no lag", lambda: sum(_status(shared).lag.values()) == 0, within_s=60)


def _paused(stage: Stage, before: int) -> Mapping[str, int]:
    """The offsets at which the source stopped: more than so many records were read, and then for a while none."""
    seen = _status(stage)

    def paused() -> bool:
        nonlocal seen
        now = _status(stage)
        if now.offsets != seen.offsets:
            seen = now
        return sum(now.offsets.values()) > before and now.ts - seen.ts > PAUSE_NS

    until("a source that pauses", paused, within_s=60, every_s=0.2)
    return seen.offsets


def _status(stage: Stage) -> ScoreStatus:
    status = stage.status()
    assert status is not None
    return status
