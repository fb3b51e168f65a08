"""The news worker against an embedded broker: every item once or more, never less, and always with the same identity."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]
from msgspec.structs import replace

from models.sentiment import LexiconSentiment
from schemas.events import NewsItem, NewsSignal
from schemas.topics import DEAD_LETTERS, EVENTS, NEWS
from streams.agents.news import signals
from tests.services.processes import Program, until
from tests.streams.agents.broker import PARTITIONS, Broker, apache_broker, embedded_broker
from tests.streams.agents.worker import POISON

GROUP = "tickwire-news"
LEXICON = LexiconSentiment()
START = 1_700_000_000_000_000_000


@pytest.fixture
def broker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Of its own for each test: the names of our topics are fixed."""
    with apache_broker() if getattr(request, "param", "") == "apache" else embedded_broker(tmp_path) as running:
        yield running


on_both = pytest.mark.parametrize(
    "broker",
    [pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("apache", marks=pytest.mark.kafka)],
    indirect=True,
)


@pytest.fixture
def worker(broker: Broker, tmp_path: Path) -> Iterator[Program]:
    command = [sys.executable, "-m", "tests.streams.agents.worker", broker.address, str(tmp_path / "faust")]
    program = Program(command, tmp_path / "worker.log")
    yield program
    program.kill()


def items(count: int, *, first: int = 0) -> list[NewsItem]:
    """Items of one or two symbols each; every fifth is named by cashtag, every seventh names nobody."""
    made = []
    for number in range(first, first + count):
        symbols: tuple[str, ...] = (f"S{number % 13}", f"S{number % 5}")
        title = f"Acme {number} beats estimates"
        if number % 5 == 0:
            symbols, title = (), f"{title} $TAG{number % 3}"
        elif number % 7 == 0:
            symbols = ()
        made.append(
            NewsItem(
                item_id=f"i{number}", source="WIRE", ts_event=START + number, ts_ingest=START + number, title=title,
                symbols=symbols,
            )
        )  # fmt: skip
    return made


def produce(broker: Broker, made: Sequence[NewsItem]) -> None:
    broker.produce(NEWS.name, [(NEWS.key(item).encode(), NEWS.encode(item)) for item in made])


def expected(made: Sequence[NewsItem]) -> Counter[NewsSignal]:
    """What must be on the log, its `ts_ingest` apart."""
    return Counter(signal for item in made for signal in signals(item, LEXICON, 0))


def on_the_log(broker: Broker) -> list[NewsSignal]:
    return [replace(EVENTS.decode(record.value), ts_ingest=0) for record in broker.records(EVENTS.name)]


def all_read(broker: Broker) -> bool:
    return broker.committed(GROUP, NEWS.name) == broker.count(NEWS.name)


@on_both
def test_items_become_exactly_their_signals_and_the_rest_dead_letters(broker: Broker, worker: Program) -> None:
    made = items(300)
    produce(broker, made)
    broker.produce(NEWS.name, [(b"a", b"junk"), (b"b", b'{"item_id":"x"}'), (b"c", None)])
    worker.start()
    until("all items being read", lambda: all_read(broker), within_s=40)
    assert Counter(on_the_log(broker)) == expected(made)
    letters = [DEAD_LETTERS.decode(record.value) for record in broker.records(DEAD_LETTERS.name)]
    assert sorted((letter.source, letter.reason, letter.raw) for letter in letters) == [
        (NEWS.name, "invalid_value", b'{"item_id":"x"}'), (NEWS.name, "undecodable", b""),
        (NEWS.name, "undecodable", b"junk"),
    ]  # fmt: skip
    by_place = {(record.partition, record.offset): record.value for record in broker.records(NEWS.name)}
    assert all(by_place[letter.partition, letter.offset] == letter.raw for letter in letters)
    assert {tuple(record.headers) for record in broker.records(EVENTS.name)} == {(("schema", b"event.v1"),)}


@pytest.mark.embedded
def test_a_signal_goes_where_every_other_producer_puts_its_symbol(broker: Broker, worker: Program) -> None:
    made = [item for item in items(60) if item.symbols]
    produce(broker, made)
    worker.start()
    until("all items being read", lambda: all_read(broker), within_s=40)
    by_agent = {record.key: record.partition for record in broker.records(EVENTS.name)}
    broker.produce(DEAD_LETTERS.name, [(key, b"{}") for key in by_agent])
    by_librdkafka = {record.key: record.partition for record in broker.records(DEAD_LETTERS.name)}
    assert by_agent == by_librdkafka
    assert len(set(by_agent.values())) == PARTITIONS


@pytest.mark.embedded
def test_the_two_clients_agree_on_the_partition_of_any_key(broker: Broker) -> None:
    keys = [*(f"SIM{number}" for number in range(300)), "BRK.B", "BTC-USD", "a", "ab", "abc", "ü€", "X" * 32]
    broker.produce(DEAD_LETTERS.name, [(key.encode(), b"{}") for key in keys])
    numbers = list(range(PARTITIONS))
    records = broker.records(DEAD_LETTERS.name)
    assert len(records) == len(keys)
    assert all(record.partition == DefaultPartitioner()(record.key, numbers, numbers) for record in records)


@on_both
def test_a_worker_killed_midway_loses_no_item_and_repeats_with_the_same_identity(
    broker: Broker, worker: Program
) -> None:
    made = items(6_000)
    produce(broker, made)
    worker.start()
    until("some signals", lambda: broker.count(EVENTS.name) > 500, within_s=40, every_s=0.01)
    worker.kill()
    before = broker.count(EVENTS.name)
    wanted = expected(made)
    assert before < sum(wanted.values()), "it was killed too late to prove anything"
    worker.start()
    until("all items being read", lambda: all_read(broker), within_s=60)
    found = Counter(on_the_log(broker))
    assert found.keys() == wanted.keys(), "nothing lost, nothing invented, repetitions equal the first"


@pytest.mark.embedded
def test_a_worker_told_to_stop_finishes_and_repeats_nothing_when_started_again(broker: Broker, worker: Program) -> None:
    produce(broker, items(200))
    worker.start()
    until("all items being read", lambda: all_read(broker), within_s=40)
    child = worker.child
    worker.stop(grace_s=15)
    assert child is not None
    assert child.returncode == 0, worker.tail()
    produce(broker, items(100, first=200))
    worker.start()
    until("all items being read", lambda: all_read(broker), within_s=60)
    assert Counter(on_the_log(broker)) == expected(items(300))


@pytest.mark.embedded
def test_a_worker_that_fails_ends_with_the_reason_and_reads_on_from_there(broker: Broker, worker: Program) -> None:
    poison = replace(items(1)[0], item_id="poison", title=POISON, symbols=("S1",))
    produce(broker, items(50))
    produce(broker, [poison])
    worker.start()
    child = worker.child
    assert child is not None
    until("the worker ending", lambda: child.poll() is not None, within_s=40)
    assert child.returncode == 1
    assert "BackendError: the agent tickwire-news stopped: ZeroDivisionError" in worker.log.read_text()
    assert broker.committed(GROUP, NEWS.name) <= 50
    assert not all_read(broker)
