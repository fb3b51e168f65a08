"""Row 37 of the fault matrix: a Redis that forgets, starts anew, is slow or gone. What it lacks is missing, never zero."""

from collections.abc import Iterator

import pytest

from infra.redis import LatestStore
from schemas.rows import Latest
from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import Scoring, Stage, stays
from tests.faults.proxy import Fault
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
MARKET = Market(seed=17)
REBUILT_WITHIN_S = 30


@pytest.fixture(scope="module")
def store(shared: Stage) -> Iterator[LatestStore]:
    made = LatestStore(shared.services.embedded.redis_url, ttl_s=600)
    yield made
    made.close()


def newest(shared: Stage) -> dict[str, tuple[int, int]]:
    """Place of the newest row of every symbol, as the history has it."""
    rows = shared.rows(
        "SELECT symbol, argMax(src_partition, src_offset), max(src_offset) FROM {db}.predictions GROUP BY symbol"
    )
    return {symbol: (partition, offset) for symbol, partition, offset in rows}


def held(store: LatestStore, shared: Stage) -> dict[str, tuple[int, int]]:
    return {r.symbol: (r.src_partition, r.src_offset) for r in store.rows() if r.log_id == shared.log_id}


def told_all(store: LatestStore, shared: Stage) -> None:
    expected = newest(shared)
    assert len(expected) == 5
    until("every symbol in Redis", lambda: held(store, shared) == expected, within_s=REBUILT_WITHIN_S)


def values(store: LatestStore, shared: Stage) -> dict[str, Latest]:
    return {row.symbol: row for row in store.rows() if row.log_id == shared.log_id}


def test_flushed_it_is_told_every_symbol_again_although_nothing_trades(
    shared: Stage, live: Scoring, store: LatestStore
) -> None:
    shared.write(MARKET.more(1_000))
    shared.exact()
    told_all(store, shared)
    before = values(store, shared)
    shared.redis.flushall()
    assert store.read("S0") is None
    told_all(store, shared)
    assert values(store, shared) == before
    assert live.alive()


def test_flushed_it_is_told_also_what_an_earlier_process_had_scored(
    shared: Stage, live: Scoring, store: LatestStore
) -> None:
    live.stop()
    shared.ready(live)
    shared.redis.flushall()
    told_all(store, shared)


@pytest.mark.parametrize(
    "fault", [Fault.refuse(), Fault.blackhole(), Fault.delay(0.3)], ids=["refused", "black hole", "slow"]
)
def test_scoring_goes_on_without_it_and_then_tells_it_the_newest(
    shared: Stage, live: Scoring, store: LatestStore, fault: Fault
) -> None:
    shared.services.redis.set(fault)
    shared.write(MARKET.more(3_000))
    shared.exact(within_s=30)
    assert live.alive()
    if fault.kind != "delay":
        until("a metric that says so", lambda: live.metric("redis_reachable") == 0, within_s=30)
        stays("old rows", lambda: held(store, shared) != newest(shared), 1)
    shared.services.heal()
    told_all(store, shared)
    until("a metric that says so", lambda: live.metric("redis_reachable") == 1, within_s=30)
