"""The benchmarks on small runs: what they count agrees; how fast it was is not judged here."""

import json
import os

import pytest

from infra.bench.fold import _check, fold_all
from infra.bench.latency import latencies
from infra.bench.machine import cpu_seconds, thread_seconds
from infra.bench.workbench import Market, in_child, records, train_model, workbench, write_log
from infra.cli.bench import flow, peers, run
from infra.clickhouse import connect
from infra.settings import Settings
from schemas.errors import BackendError, SettingsError

pytestmark = pytest.mark.embedded
EVENTS = 20_000


def unheard(_: str) -> None:
    """Progress is not looked at."""


def test_a_market_says_the_same_events_in_one_piece_and_in_two() -> None:
    whole = Market.of(3_000)
    first, rest = whole.split(1_000)
    said = [[event for chunk in market.events() for event in chunk] for market in (whole, first, rest)]
    assert said[0] == said[1] + said[2]
    assert [len(each) for each in said] == [3_000, 1_000, 2_000]


def test_it_counts_what_it_stored_and_fails_where_a_row_is_missing() -> None:
    with workbench(Settings()) as bench:
        written = in_child(write_log, bench.settings.kafka, Market.of(EVENTS))
        assert written.events == EVENTS
        assert written.records == records(bench.settings.kafka) >= EVENTS
        in_child(train_model, bench.settings)
        folded = fold_all(bench)
        assert folded.records == written.records
        database = connect(f"{bench.settings.clickhouse.url.get_secret_value()}/{bench.settings.clickhouse.database}")
        database.command("ALTER TABLE predictions DELETE WHERE src_offset = 100 SETTINGS mutations_sync = 1")
        database.close()
        with pytest.raises(BackendError, match="a measurement of lost rows is none"):
            _check(bench.settings, folded)


def test_it_tells_where_the_time_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.cli.bench.latencies", lambda _: [])
    measured = flow(Settings(), EVENTS, unheard)
    folded = measured["flow"]
    assert 0.9 * EVENTS < folded["folded"] <= folded["records"] == measured["write"]["records"]
    assert 0 < folded["read_seconds"] <= folded["seconds"]
    assert {"decode", "advance", "predictions", "clickhouse"} <= {
        name for name, spent in folded["stages"].items() if spent
    }
    threads = sum(spent for name, spent in folded["cpu"].items() if name.startswith("score:"))
    assert threads == pytest.approx(folded["cpu"]["score"])
    assert {"kafka", "redis", "clickhouse"} <= folded["cpu"].keys()
    json.dumps(measured)


def test_the_usual_way_scores_the_same_log() -> None:
    measured = peers(Settings(), EVENTS, unheard)
    usual, folded = measured["usual"], measured["flow"]
    assert 0.9 * EVENTS < usual["scored"] <= EVENTS
    assert measured["ratio"] == pytest.approx(folded["events_per_s"] / usual["events_per_s"], abs=0.051)  # one digit
    # by the clock 20,000 events are mostly a start: River is imported beside the flow; what each costs: test_per_event_cost.py
    assert usual["cpu"]["usual"] > 2 * folded["cpu"]["score"]


def test_messages_are_timed_from_the_exchange_to_the_client() -> None:
    (found,) = latencies(Settings(), (200,), warm_up_s=1.0, measured_s=3.0)
    assert found.rate == 200
    assert 100 < found.messages < 900
    assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms
    assert {"score", "api", "sim", "client", "kafka"} <= found.cores.keys()


def test_an_unknown_benchmark_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="expected flow, peers, latency, was 'flaw'"):
        run(Settings(), "flaw", events=1_000, as_json=True)


def test_processor_time_of_a_process_is_that_of_its_threads() -> None:
    before = cpu_seconds(os.getpid())
    sum(x * x for x in range(300_000))
    after = cpu_seconds(os.getpid())
    assert after > before
    assert sum(thread_seconds().values()) <= after + 1
