"""Kafka: topics, the events log, and what we write, over confluent-kafka."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from infra.settings import Kafka
from schemas.errors import DeliveryError, LogError
from schemas.events import Event, NewsItem
from schemas.rows import DeadLetter
from schemas.topics import DEAD_LETTERS, EVENTS, NEWS, TOPICS, Topic
from streams.decode import Poll

ANSWER_S: Final = 15
CLIENT: Final[Mapping[str, Any]] = {"socket.keepalive.enable": True, "log_level": 3}
READER: Final[Mapping[str, Any]] = {
    "group.id": "tickwire",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 32_768,
    "fetch.error.backoff.ms": 100,
}
WRITER: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    "compression.level": 1,  # a third smaller than lz4, which the embedded broker's way of writing pays back
    "linger.ms": 5,
    "delivery.timeout.ms": 30_000,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 262_144,
    "delivery.report.only.error": True,
}


def client_config(kafka: Kafka) -> dict[str, Any]:
    """What every client needs to reach the cluster."""
    config: dict[str, Any] = {
        **CLIENT,
        "bootstrap.servers": kafka.bootstrap,
        "security.protocol": kafka.security_protocol,
    }
    if kafka.sasl_mechanism:
        config |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.username,
            "sasl.password": kafka.password.get_secret_value(),
        }
    if kafka.ca_file:
        config["ssl.ca.location"] = kafka.ca_file
    return config


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """Where every Kafka client with the murmur2 partitioner puts the key (Java's default, aiokafka's too)."""
    return (_murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def _murmur2(raw: bytes) -> int:
    """org.apache.kafka.common.utils.Utils.murmur2, unsigned."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(raw)
    whole = len(raw) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(raw[i : i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
    rest = raw[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def create_topics(kafka: Kafka) -> list[str]:
    """Make the topics that are missing; the names of those made. `LogError` where one has another partition count."""
    admin = AdminClient(client_config(kafka))
    there = admin.list_topics(timeout=ANSWER_S).topics
    for topic in TOPICS:
        if topic.name in there and len(there[topic.name].partitions) != kafka.partitions:
            raise LogError(
                f"topic {topic.name}: expected {kafka.partitions} partitions, found {len(there[topic.name].partitions)}; "
                "set TICKWIRE_KAFKA__PARTITIONS to what the topic has: growing it would split the order of a symbol"
            )
    missing = [topic for topic in TOPICS if topic.name not in there]
    wanted = [NewTopic(t.name, kafka.partitions, kafka.replication, config=_topic_config(t, kafka)) for t in missing]
    for name, made in (admin.create_topics(wanted) if wanted else {}).items():
        try:
            made.result(ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise LogError(f"topic {name} could not be made: {error.args[0].str()}") from error
    return [topic.name for topic in missing]


def _topic_config(topic: Topic[Any], kafka: Kafka) -> dict[str, str]:
    config = {"cleanup.policy": topic.cleanup, "retention.ms": str(topic.retention_ms)}
    if kafka.retention is not None:
        share = 1 if topic is EVENTS else 6
        config["retention.ms"] = str(round(kafka.retention.total_seconds() * 1000 / share))
    if kafka.min_insync_replicas > 1:
        config["min.insync.replicas"] = str(kafka.min_insync_replicas)
    return config


def topic_id(kafka: Kafka, topic: str = EVENTS.name) -> str:
    """Kafka's own id of the topic: a topic that is deleted and made again has another one. `LogError` where it is not there."""
    admin, deadline = AdminClient(client_config(kafka)), time.monotonic() + ANSWER_S
    while True:
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S)
        try:
            return str(described[topic].result(ANSWER_S).topic_id)
        except KafkaException as error:
            fresh = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART  # brokers hear of a new topic one by one
            if not fresh or time.monotonic() > deadline:
                raise LogError(f"topic {topic} cannot be described: {error.args[0].str()}") from error
            time.sleep(0.1)


@dataclass
class KafkaPartitionReader:
    """`streams.ports.PartitionReader` of one partition."""

    consumer: Consumer
    partition: int
    next_offset: int

    def poll(self, most: int) -> Poll | None:
        messages: list[Message] = self.consumer.consume(most, 0)
        if not messages:
            return None
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            self._judge([message for message in messages if message.error() is not None])
            if not good:
                return None
        offsets = [message.offset() for message in good]
        self.next_offset = offsets[-1] + 1
        return Poll(
            self.partition, [message.value() for message in good], offsets, [message.timestamp()[1] for message in good]
        )

    def _judge(self, failed: Sequence[Message]) -> None:
        for message in failed:
            error = message.error()
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise LogError(
                    f"{EVENTS.name}[{self.partition}]@{self.next_offset}: the broker no longer has this offset "
                    f"({error.str()}); it passed out of retention or the topic was made anew; run `tickwire rebuild`"
                )
            if error.fatal() or not error.retriable():
                raise LogError(f"{EVENTS.name}[{self.partition}]@{self.next_offset}: {error.str()}")

    def lag(self) -> int:
        _, high = self.consumer.get_watermark_offsets(TopicPartition(EVENTS.name, self.partition), cached=True)
        return max(0, high - self.next_offset) if high >= 0 else 0

    def close(self) -> None:
        self.consumer.close()


@dataclass
class KafkaLog:
    """`streams.ports.Log` over Kafka."""

    kafka: Kafka
    log_id: str
    partitions: Sequence[int]
    readers: dict[int, KafkaPartitionReader] = field(default_factory=dict)

    def open(self, partition: int, offset: int | None) -> KafkaPartitionReader:
        consumer = Consumer({**client_config(self.kafka), **READER})
        at = TopicPartition(EVENTS.name, partition)
        low, high = consumer.get_watermark_offsets(at, timeout=ANSWER_S)
        start = low if offset is None else offset
        if not low <= start <= high:
            consumer.close()
            raise LogError(
                f"{EVENTS.name}[{partition}]: expected offset {start} where reading goes on, found {low} to {high}; "
                "the log was made anew, lost its end, or passed out of retention; run `tickwire rebuild`"
            )
        consumer.assign([TopicPartition(EVENTS.name, partition, start)])
        reader = self.readers[partition] = KafkaPartitionReader(consumer, partition, start)
        return reader


class KafkaWriter:
    """An idempotent producer: `EventWriter`, `NewsWriter` and `MessageWriter` of `streams.ports`."""

    def __init__(self, kafka: Kafka) -> None:
        self._producer = Producer({**client_config(kafka), **WRITER, "error_cb": self._fatal})
        self._partitions = kafka.partitions
        self._failed: list[str] = []
        self._everywhere = range(kafka.partitions)
        self._lock = threading.Lock()

    def _fatal(self, error: KafkaError) -> None:
        if error.fatal():
            self._failed.append(error.str())

    def _undelivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}[{message.partition()}]: {error.str()}")

    def _put(self, topic: Topic[Any], partition: int, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(
                    topic.name, value, key or None, partition, on_delivery=self._undelivered, headers=topic.headers
                )
                return
            except BufferError:
                self._producer.poll(0.05)
                self._complain()

    def _complain(self) -> None:
        with self._lock:
            if self._failed:
                told, self._failed = self._failed[0], []
                raise DeliveryError(f"the broker did not acknowledge a record: {told}")

    def write(self, events: Sequence[Event]) -> None:
        """Append to the events log; an event without symbol goes into every partition."""
        for event in events:
            raw = EVENTS.encode(event)
            symbol = getattr(event, "symbol", "")
            if symbol and type(event).__name__ != "SessionMark":
                self._put(EVENTS, partition_of(symbol, self._partitions), symbol, raw)
            else:
                for partition in self._everywhere:
                    self._put(EVENTS, partition, "", raw)
        self._producer.poll(0)
        self._complain()

    def write_news(self, items: Sequence[NewsItem]) -> None:
        """Append raw news."""
        for item in items:
            self._put(NEWS, partition_of(item.item_id, self._partitions), item.item_id, NEWS.encode(item))
        self._producer.poll(0)
        self._complain()

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Append to the dead letters."""
        for letter in letters:
            at = partition_of(letter.source, self._partitions)
            self._put(DEAD_LETTERS, at, letter.source, DEAD_LETTERS.encode(letter))
        self._producer.poll(0)
        self._complain()

    def send(self, topic: Topic[Any], partition: int, messages: Sequence[tuple[str, bytes]]) -> None:
        """Hand over what the flow says."""
        produce, name, headers, undelivered = self._producer.produce, topic.name, topic.headers, self._undelivered
        for key, value in messages:
            try:
                produce(name, value, key or None, partition, on_delivery=undelivered, headers=headers)
            except BufferError:  # the queue is full
                self._put(topic, partition, key, value)
        self._producer.poll(0)

    def flush(self) -> None:
        """Return when everything is acknowledged; `DeliveryError` where something was not."""
        left = self._producer.flush(WRITER["delivery.timeout.ms"] / 1000 + 5)
        self._complain()
        if left:
            raise DeliveryError(f"{left} records were not acknowledged in time; is the broker alive?")


def end_offsets(kafka: Kafka, topic: str = EVENTS.name) -> dict[int, tuple[int, int]]:
    """Partition to (first offset, next offset)."""
    consumer = Consumer({**client_config(kafka), **READER})
    try:
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S)
            for partition in range(kafka.partitions)
        }
    finally:
        consumer.close()


def follow(kafka: Kafka, topics: Sequence[str]) -> Consumer:
    """A consumer of everything that is written to the topics from now on, in all partitions."""
    consumer = Consumer({**client_config(kafka), **READER, "auto.offset.reset": "latest"})
    consumer.assign(
        [TopicPartition(topic, partition, OFFSET_END) for topic in topics for partition in range(kafka.partitions)]
    )
    return consumer


def newest_event(kafka: Kafka, partition: int = 0) -> int | None:
    """Event time of the newest record of a partition of the log; None where it has none that can be read."""
    consumer = Consumer({**client_config(kafka), **READER})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(EVENTS.name, partition), timeout=ANSWER_S)
        if low == high:
            return None
        consumer.assign([TopicPartition(EVENTS.name, partition, high - 1)])
        message = consumer.poll(ANSWER_S)
        if message is None or message.error() is not None or message.value() is None:
            return None
        return int(EVENTS.decode(message.value()).ts_event)
    finally:
        consumer.close()
