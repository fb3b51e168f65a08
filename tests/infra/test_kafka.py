"""Our use of Kafka on a real broker, and the partitioner against the numbers of Kafka's own tests."""

import time
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import Consumer, Producer
from msgspec.structs import replace

from infra import kafka_writer, log_tail, log_watch
from infra.kafka import _murmur2, client_config, create_topics, partition_of, partition_of_symbol, topic_id
from infra.kafka_log import KafkaLog, KafkaPartitionReader, end_offsets, newest_event
from infra.kafka_writer import KafkaWriter
from infra.log_identity import LogIdentity
from infra.log_tail import trades_at_end
from infra.log_watch import LogWatch
from infra.settings import Kafka
from schemas.errors import BackendError, DeliveryError, LogError
from schemas.events import Heartbeat, NewsItem, Trade
from schemas.topics import EVENTS, PREDICTIONS
from streams.decode import Poll
from tests.services.flows import fresh_topics

VECTORS = {
    b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829, b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}  # fmt: skip


@pytest.mark.parametrize(("key", "expected"), VECTORS.items(), ids=lambda value: str(value)[:12])
def test_murmur2_is_that_of_kafka(key: bytes, expected: int) -> None:
    """org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    assert _murmur2(key) == expected % 2**32


class SilentAdmin:
    """Asks a broker that never answers."""

    def __init__(self) -> None:
        self.may_take, self.waited = 0.0, 0.0

    def describe_topics(self, _topics: object, *, request_timeout: float) -> dict[str, "SilentAdmin"]:
        self.may_take = request_timeout
        return {EVENTS.name: self}

    def result(self, timeout: float) -> None:
        self.waited = timeout
        raise TimeoutError


def test_a_broker_that_is_silent_is_a_backend_that_failed() -> None:
    admin: Any = SilentAdmin()
    with pytest.raises(BackendError, match="cannot be described: no answer within"):
        topic_id(Kafka(), admin=admin)
    assert admin.waited > admin.may_take, "else the request's own error never arrives"


def test_a_silent_broker_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_watch, "EVERY_S", 0.001)
    seen: list[bool] = []
    watch = LogWatch(Kafka(), LogIdentity(log_id="a"), lambda: seen.append(False))
    told = iter(["silent", "a", "b"])

    def describe(*_: object) -> str:
        said = next(told)
        admin: Any = SilentAdmin()
        return topic_id(Kafka(), admin=admin) if said == "silent" else said

    monkeypatch.setattr(log_watch, "topic_id", describe)
    with watch:
        watch._thread.join(20)
    with pytest.raises(LogError, match="expected log a, found b"):
        watch.complain()
    assert seen == [False]


def test_the_lag_of_a_closed_reader_is_the_last_known() -> None:
    reader = KafkaPartitionReader(Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g"}), 0, next_offset=4)
    assert reader.lag() == 0, "nothing is known yet"
    reader.high = 10
    reader.close()
    assert reader.lag() == 6


@pytest.fixture
def kafka(embedded_kafka: str) -> Kafka:
    made = Kafka(bootstrap=embedded_kafka, partitions=3)
    fresh_topics(made)
    return made


def trade(symbol: str, seq: int) -> Trade:
    return Trade(symbol=symbol, venue="X", seq=seq, ts_event=seq, ts_ingest=seq, price=1.0, size=1.0)


def read(log: KafkaLog, partition: int, offset: int | None = None) -> Poll:
    reader = log.open(partition, offset)
    deadline = time.monotonic() + 10
    while (poll := reader.poll(1000)) is None:
        assert time.monotonic() < deadline, "nothing came"
    reader.close()
    return poll


@pytest.mark.embedded
def test_a_symbol_stays_in_one_partition_and_a_heartbeat_goes_into_all(kafka: Kafka) -> None:
    writer, symbols = KafkaWriter(kafka), [f"S{i}" for i in range(20)]
    writer.write([trade(symbol, 1) for symbol in symbols])
    writer.write([Heartbeat(venue="X", seq=1, ts_event=7, ts_ingest=7)])
    writer.flush()
    log = KafkaLog(kafka, "log", [0, 1, 2])
    for partition in range(3):
        events = EVENTS.decode_all([value or b"" for value in read(log, partition).values])
        expected = [symbol for symbol in symbols if partition_of(symbol, 3) == partition]
        assert [event.symbol for event in events] == [*expected, ""]
        assert newest_event(kafka, partition) == 7


def test_only_symbols_are_remembered_with_their_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_writer, "LastingProducer", lambda _config: Mock())
    writer, before = KafkaWriter(Kafka()), partition_of_symbol.cache_info().currsize
    item = NewsItem(item_id="", source="X", ts_event=1, ts_ingest=1, title="T")
    writer.write_news([replace(item, item_id=f"only-once-{i}") for i in range(100)])
    assert partition_of_symbol.cache_info().currsize == before
    writer.write([trade("only-once", 1)])
    assert partition_of_symbol.cache_info().currsize == before + 1


@pytest.mark.embedded
def test_the_end_of_every_partition_tells_which_trades_were_written_last(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_tail, "TAIL", 20)
    writer, symbols = KafkaWriter(kafka), [f"S{i}" for i in range(9)]
    writer.write([trade(symbol, seq) for seq in range(50) for symbol in symbols])
    writer.flush()
    found = trades_at_end(kafka, "X", symbols)
    assert len(found) == 20 * len({partition_of(symbol, 3) for symbol in symbols})
    assert {each.symbol: each.seq for each in found} == dict.fromkeys(symbols, 49)


@pytest.mark.embedded
def test_the_producers_of_others_put_a_symbol_where_we_do(kafka: Kafka) -> None:
    producer = Producer({**client_config(kafka), "partitioner": "murmur2_random"})
    symbols = [f"SYM{i}" for i in range(60)]
    for symbol in symbols:
        producer.produce(EVENTS.name, EVENTS.encode(trade(symbol, 1)), key=symbol)
    producer.flush(10)
    log = KafkaLog(kafka, "log", [0, 1, 2])
    for partition in range(3):
        events = EVENTS.decode_all([value or b"" for value in read(log, partition).values])
        assert {event.symbol for event in events} == {s for s in symbols if partition_of(s, 3) == partition}


@pytest.mark.embedded
def test_reading_goes_on_where_the_state_says_and_never_jumps(kafka: Kafka) -> None:
    writer = KafkaWriter(kafka)
    writer.write([trade("A", i) for i in range(10)])
    writer.flush()
    partition = partition_of("A", 3)
    log = KafkaLog(kafka, "log", [partition])
    assert read(log, partition, 4).offsets == [4, 5, 6, 7, 8, 9]
    with pytest.raises(LogError, match=r"expected offset 11 where reading goes on, found 0 to 10; .*tickwire rebuild"):
        log.open(partition, 11)
    assert log.open(partition, 10).poll(100) is None


@pytest.mark.embedded
def test_a_topic_with_another_partition_count_is_refused(kafka: Kafka) -> None:
    assert create_topics(kafka) == []
    with pytest.raises(LogError, match="expected 4 partitions, found 3"):
        create_topics(kafka.model_copy(update={"partitions": 4}))


@pytest.mark.embedded
def test_what_is_sent_says_its_schema_and_counts(kafka: Kafka) -> None:
    writer = KafkaWriter(kafka)
    writer.send(PREDICTIONS, 2, [("A", b"{}"), ("B", b"{}")])
    writer.flush()
    assert end_offsets(kafka, PREDICTIONS.name) == {0: (0, 0), 1: (0, 0), 2: (0, 2)}


@pytest.mark.embedded
def test_a_record_that_is_too_large_is_refused_in_our_words(kafka: Kafka) -> None:
    with pytest.raises(DeliveryError, match=r"signals.predictions.v1\[2\] takes no record: .*too large"):
        KafkaWriter(kafka).send(PREDICTIONS, 2, [("A", b"x" * 5_000_000)])


@pytest.mark.embedded
def test_a_record_that_is_not_acknowledged_raises_at_the_flush(kafka: Kafka) -> None:
    writer = KafkaWriter(kafka)
    writer.send(PREDICTIONS, 99, [("A", b"{}")])
    with pytest.raises(DeliveryError, match="did not acknowledge a record"):
        writer.flush()
