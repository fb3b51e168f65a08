"""A broker with our topics, embedded or Apache's, and short ways to write and read it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.topics import DEAD_LETTERS, EVENTS, NEWS
from tests.services.apache_kafka import kafka_cluster
from tests.services.processes import HOST, Program, free_ports, listens

PARTITIONS = 4


@dataclass(frozen=True)
class Record:
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Broker:
    address: str

    def produce(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        """As every producer of ours does."""
        producer = Producer({"bootstrap.servers": self.address, "partitioner": "murmur2_random", "linger.ms": 5})
        failed: list[object] = []
        for key, value in records:
            producer.produce(topic, key=key, value=value, on_delivery=lambda error, _: failed.append(error))
        assert producer.flush(20) == 0
        assert not any(failed)

    def records(self, topic: str) -> list[Record]:
        """All of a topic, by partition and offset."""
        reader = self._reader()
        try:
            return [record for partition in range(PARTITIONS) for record in self._partition(reader, topic, partition)]
        finally:
            reader.close()

    def count(self, topic: str) -> int:
        reader = self._reader()
        try:
            return sum(self._end(reader, topic, partition) for partition in range(PARTITIONS))
        finally:
            reader.close()

    def committed(self, group: str, topic: str) -> int:
        """Records that the group has read for good."""
        reader = self._reader(group)
        try:
            places = reader.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], timeout=10)
            return sum(max(place.offset, 0) for place in places)
        except KafkaException as error:
            if error.args[0].code() in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE):
                return 0  # a broker this young has not decided yet who looks after the group
            raise
        finally:
            reader.close()

    def _reader(self, group: str = "test-reader") -> Consumer:
        return Consumer({"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False})

    @staticmethod
    def _end(reader: Consumer, topic: str, partition: int) -> int:
        return int(reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1])

    def _partition(self, reader: Consumer, topic: str, partition: int) -> Iterator[Record]:
        end = self._end(reader, topic, partition)
        reader.assign([TopicPartition(topic, partition, 0)])
        read = 0
        while read < end:
            for message in reader.consume(min(1_000, end - read), timeout=10):
                assert message.error() is None
                read += 1
                yield Record(
                    partition,
                    int(message.offset() or 0),
                    message.key(),
                    message.value() or b"",
                    list(message.headers() or []),
                )


@contextmanager
def embedded_broker(directory: Path) -> Iterator[Broker]:
    """noida-db, up with our three topics; stopped by its own pid."""
    (port,) = free_ports(1)
    binary = files("noida_db").joinpath("noida-db")  # its Python wrapper would outlive a signal, or be outlived
    program = Program(
        [
            str(binary), "start", "--data-dir", str(directory / "broker"), "--only", "kafka", "--kafka-port", str(port),
            "--host", HOST,
        ],
        directory / "broker.log",
    )  # fmt: skip
    program.start()
    try:
        program.await_ready(lambda: listens(port), within_s=20)
        yield _with_topics(f"{HOST}:{port}")
    finally:
        program.stop()


@contextmanager
def apache_broker() -> Iterator[Broker]:
    """One node of Apache Kafka with our three topics."""
    with kafka_cluster(brokers=1) as cluster:
        yield _with_topics(cluster.bootstrap)


def _with_topics(address: str) -> Broker:
    topics = [NewTopic(topic.name, PARTITIONS, 1) for topic in (EVENTS, NEWS, DEAD_LETTERS)]
    admin = AdminClient({"bootstrap.servers": address})  # must outlive its answers
    for made in admin.create_topics(topics).values():
        made.result(20)
    return Broker(address)
