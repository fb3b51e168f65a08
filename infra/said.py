"""How far the topics that we write got, by their last messages."""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from infra.kafka import ANSWER_S, client_config
from infra.kafka_log import READER
from infra.settings import Kafka
from schemas.errors import LogError, SchemaError
from schemas.topics import DEAD_LETTERS, Topic
from streams.refold import SAID_ON, Said

TAIL: Final = 512
"""Messages that are looked at: one log record makes a few dozen at most."""
TABLE_OF: Final[Mapping[str, str]] = {
    topic.name: table
    for topic, table in zip(SAID_ON, ("predictions", "bars", "outcomes", "alerts", "dead_letters"), strict=True)
}


def said(
    kafka: Kafka, log_id: str, partitions: Sequence[int], stored: Callable[[str, int], int]
) -> dict[tuple[str, int], Said]:
    """By topic and partition. `stored`: highest offset of a table and partition, which counts where a topic tells nothing:
    its messages have passed out of retention, or it was made anew. Dead letters name no log, so their table counts too.
    """
    found = {}
    for topic in SAID_ON:
        for partition in partitions:
            last = None if topic is DEAD_LETTERS else _last(kafka, topic, partition, log_id)
            known = Said(stored(TABLE_OF[topic.name], partition), TAIL) if last is None else last
            found[topic.name, partition] = known
    return found


def _last(kafka: Kafka, topic: Topic[Any], partition: int, log_id: str) -> Said | None:
    tail = _tail(kafka, topic, partition)
    if not tail:
        return None
    newest = tail[-1]
    if newest.log_id != log_id:
        return Said()
    same = takewhile(lambda message: message.src_offset == newest.src_offset, reversed(tail))
    return Said(newest.src_offset, sum(1 for _ in same))


def _tail(kafka: Kafka, topic: Topic[Any], partition: int) -> list[Any]:
    consumer = Consumer({**client_config(kafka), **READER})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=ANSWER_S)
        at, messages = max(low, high - TAIL), []
        consumer.assign([TopicPartition(topic.name, partition, at)])
        while at < high:
            message = consumer.poll(ANSWER_S)
            if message is None or message.error() is not None:
                why = "no answer" if message is None else message.error().str()
                raise LogError(f"{topic.name}[{partition}]@{at}: expected our last messages up to {high}, found {why}")
            at = message.offset() + 1
            messages.append(_decoded(topic, message.value() or b"", message.offset()))
        return messages
    finally:
        consumer.close()


def _decoded(topic: Topic[Any], raw: bytes, offset: int) -> Any:
    try:
        return topic.decode(raw)
    except SchemaError as error:
        raise LogError(
            f"{topic.name}@{offset}: expected a message of ours, found another one ({error}); nobody else may write there"
        ) from error
