"""Writing Kafka: events, news and what we say, by an idempotent producer that forgets no failure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaException

from infra.failpoints import hit
from infra.kafka import client_config, partition_of, partition_of_symbol
from infra.lasting_producer import LastingProducer
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
    """An idempotent producer: `EventWriter`, `NewsWriter` and `MessageWriter` of `streams.ports`.

    `permit`: asked before what the flow says is sent and flushed; returns when this process may write, or raises.
    """

    def __init__(self, kafka: Kafka, permit: Callable[[], None] = lambda: None) -> None:
        self._permit = permit
        self._producer = LastingProducer({**client_config(kafka), **WRITER})
        self._partitions = kafka.partitions
        self._everywhere = range(kafka.partitions)

    def _put(self, topic: Topic[Any], partition: int, key: str, value: bytes) -> None:
        self._producer.produce(topic.name, partition, key or None, value, topic.headers)

    def write(self, events: Sequence[Event]) -> None:
        """Append to the events log; an event without symbol goes into every partition."""
        for event in events:
            raw = EVENTS.encode(event)
            symbol = getattr(event, "symbol", "")
            if symbol and type(event).__name__ != "SessionMark":
                self._put(EVENTS, partition_of_symbol(symbol, self._partitions), symbol, raw)
            else:
                for partition in self._everywhere:
                    self._put(EVENTS, partition, "", raw)
        self._producer.poll()
        self._producer.complain()

    def write_news(self, items: Sequence[NewsItem]) -> None:
        """Append raw news."""
        for item in items:
            self._put(NEWS, partition_of(item.item_id, self._partitions), item.item_id, NEWS.encode(item))
        self._producer.poll()
        self._producer.complain()

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Append to the dead letters."""
        for letter in letters:
            at = partition_of(letter.source, self._partitions)
            self._put(DEAD_LETTERS, at, letter.source, DEAD_LETTERS.encode(letter))
        self._producer.poll()
        self._producer.complain()

    def send(self, topic: Topic[Any], partition: int, messages: Sequence[tuple[str, bytes]]) -> None:
        """Hand over what the flow says."""
        self._permit()
        name, headers, producer = topic.name, topic.headers, self._producer
        produce, told = producer.inner.produce, producer.undelivered
        for key, value in messages:
            try:
                produce(name, value, key or None, partition, on_delivery=told(), headers=headers)
            except (BufferError, KafkaException):  # the queue is full, or it says what is wrong
                self._put(topic, partition, key, value)
                produce = producer.inner.produce  # it may be another one by now
        self._producer.poll()

    def flush(self) -> None:
        """Return when everything is acknowledged; `DeliveryError` where something was not."""
        self._permit()
        hit("topics.before_flush")
        left = self._producer.flush(WRITER["delivery.timeout.ms"] / 1000 + 5)
        self._producer.complain()
        if left:
            raise DeliveryError(f"{left} records were not acknowledged in time; is the broker alive?")
        hit("topics.after_flush")
