"""Writing Kafka: events, news and what we say, by an idempotent producer that forgets no failure."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.failpoints import hit
from infra.kafka import client_config, partition_of
from infra.settings import Kafka
from schemas.errors import DeliveryError
from schemas.events import Event, NewsItem
from schemas.rows import DeadLetter
from schemas.topics import DEAD_LETTERS, EVENTS, NEWS, Topic

WRITER: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    "compression.level": 1,  # a third smaller than lz4, which the embedded broker's way of writing pays back
    "linger.ms": 1,  # a poll's messages are handed over at once: waiting longer gathers no more of them
    "delivery.timeout.ms": 30_000,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 262_144,
    "delivery.report.only.error": True,
}


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
            except KafkaException as error:
                raise DeliveryError(f"{topic.name}[{partition}] takes no record: {error.args[0].str()}") from error

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
            except (BufferError, KafkaException):  # the queue is full, or it says what is wrong
                self._put(topic, partition, key, value)
        self._producer.poll(0)

    def flush(self) -> None:
        """Return when everything is acknowledged; `DeliveryError` where something was not."""
        hit("topics.before_flush")
        left = self._producer.flush(WRITER["delivery.timeout.ms"] / 1000 + 5)
        self._complain()
        if left:
            raise DeliveryError(f"{left} records were not acknowledged in time; is the broker alive?")
        hit("topics.after_flush")
