"""Rows 7, 8 and 9 of the fault matrix: a broker that is gone, slow, or cut off in the middle of an answer."""

import threading

import pytest

from infra.kafka_writer import KafkaWriter
from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import MIB, Scoring, Stage, stays
from tests.faults.proxy import Fault
from tests.services.processes import HOST, until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
MARKET = Market()


def lag(stage: Stage) -> int:
    status = stage.status()
    return 0 if status is None else sum(status.lag.values())


@pytest.mark.parametrize("fault", [Fault.refuse(), Fault.blackhole()], ids=["refused", "black hole"])
def test_scoring_resumes_where_it_was_when_the_broker_is_back(shared: Stage, live: Scoring, fault: Fault) -> None:
    shared.write(MARKET.more(500))
    shared.exact()
    before = shared.count("predictions")
    shared.services.kafka.set(fault)
    shared.write(MARKET.more(500))
    stays("scoring, without a broker", live.alive, 3)
    assert shared.count("predictions") <= before + 500
    shared.services.heal()
    shared.exact()
    shared.said_once()


def test_a_slow_broker_makes_lag_that_is_seen_and_drains_and_costs_no_memory(shared: Stage, live: Scoring) -> None:
    before = live.rss()
    shared.services.kafka.set(Fault.throttle(50_000))
    shared.write(MARKET.more(6_000))
    until("lag", lambda: lag(shared) > 500, within_s=60)
    assert live.metric("score_lag_records") > 0
    shared.services.kafka.set(Fault.delay(0.1))
    stays("scoring of a slow broker", lambda: live.rss() < before + 150 * MIB, 2)
    shared.services.heal()
    shared.exact()
    until("no lag", lambda: lag(shared) == 0, within_s=60)


@pytest.mark.parametrize("after", [1, 20_000])
def test_an_answer_of_the_broker_that_is_cut_in_the_middle_is_asked_for_again(
    shared: Stage, live: Scoring, after: int
) -> None:
    shared.services.kafka.set(Fault.cut(after, times=8))
    shared.write(MARKET.more(3_000))
    shared.exact()
    assert shared.services.kafka.hits > 0
    assert live.alive()
    shared.said_once()


def test_a_producer_holds_back_while_the_broker_is_gone_and_drops_nothing(shared: Stage, live: Scoring) -> None:
    proxied = shared.kafka.model_copy(update={"bootstrap": f"{HOST}:{shared.services.kafka.port}"})
    writer, events = KafkaWriter(proxied), MARKET.more(2_000)
    writer.write(events[:500])
    writer.flush()
    shared.services.kafka.set(Fault.refuse())

    def write() -> None:
        writer.write(events[500:])
        writer.flush()

    writing = threading.Thread(target=write)
    writing.start()
    stays("a producer that waits", writing.is_alive, 2)
    shared.services.heal()
    writing.join(30)
    assert not writing.is_alive()
    assert shared.records() == MARKET.on_the_log(shared.partitions)
    shared.exact()
