"""What a crash of the embedded broker takes is known exactly, and a new log begins where it took something."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.embedded.acknowledged import Acknowledged
from infra.embedded.services import KAFKA, RELAY, WantedPorts, start_embedded
from infra.embedded.supervisor import Supervisor
from infra.kafka import create_topics
from infra.kafka_log import end_offsets
from infra.kafka_writer import KafkaWriter
from infra.log_identity import LogIdentity, read_logs
from infra.settings import Kafka
from schemas.events import Trade
from schemas.topics import EVENTS
from tests.services.processes import until

pytestmark = pytest.mark.embedded
PARTITIONS = 3


@dataclass
class Broker:
    """A supervised broker with its relay, and its topics."""

    kafka: Kafka
    supervisor: Supervisor
    told: list[str]

    @property
    def data(self) -> Path:
        return self.supervisor.directory / KAFKA

    def logs(self) -> list[LogIdentity]:
        return read_logs(self.data / "logs.json")

    def acknowledged(self) -> Acknowledged:
        return Acknowledged(self.data)

    def pid(self, name: str) -> int:
        return next(each.pid for each in self.supervisor.services() if each.service.name == name)

    def kill(self) -> None:
        """SIGKILL it, and wait until clients are let in again."""
        before = (self.pid(KAFKA), self.pid(RELAY))
        os.kill(before[0], signal.SIGKILL)
        until("the relay being open again", lambda: self._open(before), within_s=60)

    def _open(self, before: tuple[int, int]) -> bool:
        relay = next(each for each in self.supervisor.services() if each.service.name == RELAY)
        return (
            self.pid(KAFKA) != before[0]
            and relay.pid != before[1]
            and relay.phase == "running"
            and relay.service.ready()
        )


@contextmanager
def running(directory: Path) -> Iterator[Broker]:
    told: list[str] = []
    wanted = Kafka(partitions=PARTITIONS)
    with Supervisor(directory, on_event=told.append) as supervisor:
        addresses = start_embedded(supervisor, WantedPorts(0, 0, 0), {KAFKA}, wanted)
        kafka = wanted.model_copy(update={"bootstrap": addresses.kafka, "log_file": Path(addresses.log_file)})
        create_topics(kafka)
        yield Broker(kafka, supervisor, told)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as broker:
        yield broker


def trade(seq: int, symbol: str = "A") -> Trade:
    return Trade(symbol=symbol, venue="X", seq=seq, ts_event=seq, ts_ingest=seq, price=1.0, size=1.0)


def ends(broker: Broker) -> dict[int, int]:
    return {partition: high for partition, (_, high) in end_offsets(broker.kafka).items() if high}


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_the_relay_knows_how_far_the_log_reaches(broker: Broker, compression: str, idempotent: bool) -> None:
    producer = Producer(
        {"bootstrap.servers": broker.kafka.bootstrap, "compression.type": compression, "enable.idempotence": idempotent}
    )
    for number in range(5_000):
        producer.produce(EVENTS.name, b"%d" % number, partition=number % PARTITIONS)
        if number % 700 == 0:
            producer.flush(10)
    producer.flush(10)
    assert broker.acknowledged().ends() == ends(broker)
    assert sum(ends(broker).values()) == 5_000
    assert broker.acknowledged().complete


def test_what_goes_to_other_topics_counts_for_nothing(broker: Broker) -> None:
    producer = Producer({"bootstrap.servers": broker.kafka.bootstrap})
    producer.produce("market.bars.v1", b"x", partition=0)
    producer.flush(10)
    assert broker.acknowledged().ends() == {}


def test_a_writer_that_wants_no_answer_leaves_doubt(broker: Broker) -> None:
    producer = Producer({"bootstrap.servers": broker.kafka.bootstrap, "acks": 0})
    producer.produce(EVENTS.name, b"x", partition=0)
    producer.flush(10)
    until("the record being passed on", lambda: not broker.acknowledged().complete, within_s=10)


def test_a_relay_that_is_killed_leaves_doubt_and_forgets_nothing(broker: Broker) -> None:
    writer = KafkaWriter(broker.kafka)
    writer.write([trade(seq) for seq in range(100)])
    writer.flush()
    known, before = broker.acknowledged().ends(), broker.pid(RELAY)
    os.kill(before, signal.SIGKILL)
    until("another relay", lambda: broker.pid(RELAY) != before and not broker.acknowledged().complete, within_s=20)
    assert broker.acknowledged().ends() == known != {}


def test_a_quiet_log_that_is_whole_after_a_crash_stays_the_same(broker: Broker) -> None:
    writer = KafkaWriter(broker.kafka)
    writer.write([trade(seq) for seq in range(1_000)])
    writer.flush()
    before, reached = broker.logs(), ends(broker)
    time.sleep(5)  # the broker writes its log down by itself, every second or two
    broker.kill()
    assert ends(broker) == reached
    assert broker.logs() == before


def test_a_crash_under_load_closes_the_log_at_the_end_that_is_found_and_says_what_is_lost(broker: Broker) -> None:
    writer, stop, sent = KafkaWriter(broker.kafka), threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            writer.write([trade(sent[0] + i, f"S{(sent[0] + i) % 9}") for i in range(50)])
            sent[0] += 50
            stop.wait(0.01)
        writer.flush()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        until("a few thousand records", lambda: sent[0] > 5_000, within_s=60)
        broker.kill()
        more = sent[0] + 5_000
        until("as many again", lambda: sent[0] > more, within_s=60)
    finally:
        stop.set()
        writing.join()
    closed, current = broker.logs()
    assert closed.ends is not None
    assert current.starts == closed.ends
    lost = sum(closed.lost.values())
    assert lost > 0
    assert any(f"{lost:,} acknowledged records are lost" in event for event in broker.told)
    order = seqs(broker)
    assert set(range(sent[0])) - set().union(*order.values()) == expected_gap(order, lost, sent[0])
    for in_partition in order.values():
        once = list(dict.fromkeys(in_partition))
        assert once == sorted(once), "what is sent again keeps its order"


def expected_gap(order: dict[int, list[int]], lost: int, sent: int) -> set[int]:
    """Exactly as many trades are gone as were acknowledged and lost: what was not acknowledged was sent again."""
    gone = set(range(sent)) - set().union(*order.values())
    assert len(gone) == lost
    return gone


def seqs(broker: Broker) -> dict[int, list[int]]:
    consumer = Consumer({"bootstrap.servers": broker.kafka.bootstrap, "group.id": "x"})
    found: dict[int, list[int]] = {}
    for partition, (low, high) in end_offsets(broker.kafka).items():
        consumer.assign([TopicPartition(EVENTS.name, partition, low)])
        found[partition] = []
        while len(found[partition]) < high - low:
            message = consumer.poll(10)
            assert message is not None
            found[partition].append(EVENTS.decode(message.value() or b"").seq)
    consumer.close()
    return found


def test_a_topic_that_a_crash_took_is_there_again_with_its_partitions(broker: Broker) -> None:
    broker.kill()  # it was made a moment ago
    assert len(end_offsets(broker.kafka)) == PARTITIONS
    assert create_topics(broker.kafka) == []


def test_an_end_without_a_clean_stop_is_noticed_at_the_next_start(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        writer = KafkaWriter(broker.kafka)
        writer.write([trade(seq) for seq in range(2_000)])
        writer.flush()
        reached, (before,) = ends(broker), broker.logs()
    with running(tmp_path) as again:
        assert again.logs() == [before], "a clean stop keeps the log"
        assert ends(again) == reached
        (again.data / "stopped").touch()
    (tmp_path / KAFKA / "stopped").unlink()
    known = Acknowledged(tmp_path / KAFKA)
    known.reset({partition: end + 7 for partition, end in reached.items()})
    known.close()
    with running(tmp_path) as third:
        closed, current = third.logs()
        assert (closed.log_id, closed.lost) == (before.log_id, dict.fromkeys(reached, 7))
        assert {p: end for p, end in (closed.ends or {}).items() if end} == reached
        assert current.starts == closed.ends
