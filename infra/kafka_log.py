"""Reading Kafka: the events log from where the state says, and whatever is written from now on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, Message, TopicPartition

from infra.failpoints import hit
from infra.kafka import ANSWER_S, client_config
from infra.settings import Kafka
from schemas.errors import LogError
from schemas.topics import EVENTS
from streams.decode import Poll

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
        hit("source.after_poll")
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
        hit("source.open")
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
