"""Rows 9 to 13 and 31: a ClickHouse that is cut off, in doubt, gone, full, slow, or does not let us write."""

import pytest

from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import MIB, Scoring, Stage, stays
from tests.faults.proxy import Fault
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
MARKET = Market(seed=11)
INSERT = b"INSERT"


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
    stored, offsets = shared.count("predictions"), None
    shared.services.clickhouse.set(fault)
    shared.write(MARKET.more(1_000))

    def paused() -> bool:
        nonlocal offsets
        status = shared.status()
        assert status is not None
        before, offsets = offsets, (status.offsets, status.ts)
        return before is not None and before[0] == offsets[0] and before[1] != offsets[1]

    until("a source that pauses", paused, within_s=60, every_s=1.0)
    shared.write(MARKET.more(30_000))
    at, rss = offsets, live.rss()
    status = shared.status()
    stays("a pause", lambda: live.alive() and live.rss() < rss + 50 * MIB, 4)
    status = shared.status()
    assert status is not None
    assert at is not None
    assert status.offsets == at[0], "the source went on although nothing is stored"
    assert sum(status.lag.values()) > 0
    assert shared.count("predictions") == stored
    shared.services.heal()
    shared.exact()
    until("no lag", lambda: sum((shared.status() or status).lag.values()) == 0, within_s=60)
