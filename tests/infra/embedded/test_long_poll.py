"""The relay in front of the embedded broker: it holds what is empty, passes on what is not, and loses nothing."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import given
from hypothesis import strategies as st

from infra.embedded.kafka_wire import Fetch, Frames, fetch_of, is_empty, moved
from infra.embedded.services import Embedded


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@given(st.lists(st.tuples(st.binary(min_size=8, max_size=60), st.booleans()), max_size=12), st.data())
def test_the_parts_are_the_stream_however_it_is_cut(told: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    frames = [frame(body) for body, _ in told]
    wanted = [want for _, want in told]
    stream, cutter, asked = b"".join(frames), Frames(12), iter(wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parts = [
        (bytes(part), begins, whole)
        for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for part, begins, whole in cutter.parts(stream[a:b], lambda _head, length: length > 12 and next(asked))
    ]
    longer = [f for f in frames if len(f) > 12]
    assert b"".join(part for part, _, _ in parts) == stream
    assert sum(begins for _, begins, _ in parts) == len(frames)
    whole = [part for part, begins, all_ in parts if begins and all_ and len(part) > 12]
    assert whole == [f for f, want in zip(longer, wanted, strict=False) if want]


def test_a_fetch_says_how_long_it_may_wait() -> None:
    plain = frame(
        bytes.fromhex("0001 000b 00000007 0003 616263 ffffffff 000001f4 00000001".replace(" ", "")) + bytes(20)
    )
    assert fetch_of(plain) == Fetch(11, 500)
    flexible = frame(
        bytes.fromhex("0001 000c 00000007 0003 616263 00 ffffffff 000000fa 00000001".replace(" ", "")) + bytes(20)
    )
    assert fetch_of(flexible) == Fetch(12, 250)


def response(records: bytes, error: int = 0) -> bytes:
    partition = bytes(4) + error.to_bytes(2, "big") + bytes(8 + 8 + 8) + bytes(4) + b"\xff" * 4
    partition += len(records).to_bytes(4, "big") + records
    topic = b"\x00\x01e" + (1).to_bytes(4, "big") + partition
    return frame(bytes(4) + bytes(4) + bytes(2) + bytes(4) + (1).to_bytes(4, "big") + topic)


def test_records_and_errors_are_not_empty() -> None:
    assert is_empty(response(b""), 11)
    assert not is_empty(response(b"x" * 61), 11)
    assert not is_empty(response(b"", error=1), 11)


def test_an_address_moves_and_the_length_stays() -> None:
    named = b"\x00\x09127.0.0.1" + (9999).to_bytes(4, "big")
    assert moved(named, "127.0.0.1", 9999, 9092) == b"\x00\x09127.0.0.1" + (9092).to_bytes(4, "big")


@pytest.fixture
def topic(embedded: Embedded, request: pytest.FixtureRequest) -> str:
    name = f"t{abs(hash(request.node.name))}"
    admin = AdminClient({"bootstrap.servers": embedded.kafka})
    admin.create_topics([NewTopic(name, 2)])[name].result(10)
    return name


def reader(embedded: Embedded, topic: str) -> Consumer:
    consumer = Consumer({"bootstrap.servers": embedded.kafka, "group.id": "x", "fetch.wait.max.ms": 20_000})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
    return consumer


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.embedded
def test_an_idle_consumer_costs_next_to_nothing_and_hears_at_once(embedded: Embedded, topic: str) -> None:
    consumer = reader(embedded, topic)
    assert consumer.consume(1, 1.0) == []
    before = time.process_time()
    assert consumer.consume(1, 2.0) == []
    assert time.process_time() - before < 0.5, "without the relay this thread alone takes more than a core's half"
    producer = Producer({"bootstrap.servers": embedded.kafka, "linger.ms": 0})
    producer.produce(topic, b"first", partition=0)
    producer.flush(10)
    began = time.monotonic()
    (message,) = consumer.consume(1, 18.0)
    assert message.value() == b"first"
    assert time.monotonic() - began < 10.0, "the consumer waited for its twenty seconds instead of being woken"
    consumer.close()


@pytest.mark.embedded
def test_everything_produced_arrives_in_order(embedded: Embedded, topic: str) -> None:
    consumer, n = reader(embedded, topic), 50_000
    producer = Producer({"bootstrap.servers": embedded.kafka, "enable.idempotence": True, "linger.ms": 5})
    seen: dict[int, list[int]] = {0: [], 1: []}
    for i in range(n):
        _produce(producer, lambda i=i: producer.produce(topic, str(i).encode() + b"." * (i % 300), partition=i % 2))
    producer.flush(30)
    deadline = time.monotonic() + 30
    while sum(map(len, seen.values())) < n and time.monotonic() < deadline:
        for message in consumer.consume(5_000, 0.2):
            assert message.error() is None
            seen[message.partition()].append(int(message.value().split(b".")[0]))
    assert seen == {0: list(range(0, n, 2)), 1: list(range(1, n, 2))}
    consumer.close()


def _produce(producer: Producer, put: Callable[[], None]) -> None:
    while True:
        try:
            put()
        except BufferError:
            producer.poll(0.1)
        else:
            return
