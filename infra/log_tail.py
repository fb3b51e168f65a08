"""The end of the events log, as a collector that starts again wants it: which trade of each symbol was written last."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.kafka import ANSWER_S, client_config, partition_of
from infra.kafka_log import READER
from infra.settings import Kafka
from schemas.errors import BackendError, SchemaError
from schemas.events import Trade
from schemas.topics import EVENTS

TAIL: Final = 4_096
"""Records of each partition that are looked at; a symbol without a trade among them is not known."""


def trades_at_end(kafka: Kafka, venue: str, symbols: Sequence[str]) -> list[Trade]:
    """Trades of these symbols of a venue among the last records of their partitions, in order of the log.

    `BackendError` where the broker does not give them.
    """
    consumer = Consumer({**client_config(kafka), **READER})
    try:
        partitions = sorted({partition_of(symbol, kafka.partitions) for symbol in symbols})
        values = [value for partition in partitions for value in _tail(consumer, partition)]
    except KafkaException as error:
        raise BackendError(
            f"Kafka at {kafka.bootstrap} does not give the end of {EVENTS.name}: {error.args[0].str()}"
        ) from error
    finally:
        consumer.close()
    return [event for event in _events(values) if event.venue == venue and event.symbol in symbols]


def _tail(consumer: Consumer, partition: int) -> Iterator[bytes]:
    low, high = consumer.get_watermark_offsets(TopicPartition(EVENTS.name, partition), timeout=ANSWER_S)
    at = max(low, high - TAIL)
    if at >= high:
        return
    consumer.assign([TopicPartition(EVENTS.name, partition, at)])
    while at < high:
        message = consumer.poll(ANSWER_S)
        if message is None:
            raise BackendError(f"{EVENTS.name}[{partition}]@{at}: expected records up to {high}, the broker gave none")
        if (error := message.error()) is not None:
            raise KafkaException(error)
        at = (message.offset() or 0) + 1
        yield message.value() or b""


def _events(values: Sequence[bytes]) -> Iterator[Trade]:
    for value in values:
        with suppress(SchemaError):  # the fold makes a dead letter of it
            event = EVENTS.decode(value)
            if isinstance(event, Trade):
                yield event
