"""Reading the outcomes topic, every partition at its own pace."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra.kafka import ANSWER_S, client_config
from infra.kafka_log import READER
from infra.settings import Kafka
from schemas.errors import LogError, SchemaError
from schemas.rows import Outcome
from schemas.topics import OUTCOMES

NEWEST: Final = 64


class OffsetLost(LogError):
    """What lay at an offset was not watched, and cannot be any more."""


class OutcomePartition:
    """`streams.drift_watch.OutcomeReader` of one partition, from an offset or from the first record there is.

    An offset that the broker no longer has, or does not have yet, is a `LogError`: what lay there was not watched.
    """

    def __init__(self, kafka: Kafka, partition: int, offset: int | None) -> None:
        self.partition = partition
        self._consumer = Consumer({**client_config(kafka), **READER})
        low, high = self._consumer.get_watermark_offsets(TopicPartition(OUTCOMES.name, partition), timeout=ANSWER_S)
        self.next_offset, self._high = low if offset is None else offset, high
        if not low <= self.next_offset <= high:
            self._consumer.close()
            raise self._lost(f"found {low} to {high}")
        self._consumer.assign([TopicPartition(OUTCOMES.name, partition, self.next_offset)])

    def poll(self, most: int) -> list[Outcome]:
        """What has arrived, at most `most`; none when nothing has. Never waits."""
        messages: list[Message] = self._consumer.consume(most, 0)
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise self._lost(error.str())
            if error is not None and (error.fatal() or not error.retriable()):
                raise LogError(f"{OUTCOMES.name}[{self.partition}]@{self.next_offset}: {error.str()}")
        good = [message for message in messages if message.error() is None]
        if good:
            self.next_offset = good[-1].offset() + 1
        return list(decoded(self.partition, good))

    def _lost(self, found: str) -> LogError:
        return OffsetLost(
            f"{OUTCOMES.name}[{self.partition}]: expected offset {self.next_offset} where watching goes on, {found}; it passed "
            "out of retention or the topic was made anew: start `tickwire watch-drift` again to go on with what there is"
        )

    @property
    def behind(self) -> bool:
        """Whether records have arrived at the broker that were not polled."""
        at = TopicPartition(OUTCOMES.name, self.partition)
        self._high = max(self._high, self._consumer.get_watermark_offsets(at, cached=True)[1])
        return bool(self.next_offset < self._high)

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


FROM_THE_FIRST: Final[Mapping[int, int]] = {}


def open_outcomes(kafka: Kafka, offsets: Mapping[int, int] = FROM_THE_FIRST) -> list[OutcomePartition]:
    """A reader of every partition, from its offset, or the first record where none is named.

    Where the broker has the offset no longer, it is said, and watching goes on with what there is.
    """
    return [_opened(kafka, each, offsets.get(each)) for each in range(kafka.partitions)]


def _opened(kafka: Kafka, partition: int, offset: int | None) -> OutcomePartition:
    try:
        return OutcomePartition(kafka, partition, offset)
    except OffsetLost as error:
        structlog.get_logger().warning("outcomes were not watched", reason=str(error))
        return OutcomePartition(kafka, partition, None)


def newest_outcomes(kafka: Kafka) -> list[Outcome]:
    """The last 64 records of every partition: of all horizons, hence several. None where nothing was said yet."""
    consumer, found = Consumer({**client_config(kafka), **READER}), list[Outcome]()
    try:
        for partition in range(kafka.partitions):
            at = TopicPartition(OUTCOMES.name, partition)
            low, high = consumer.get_watermark_offsets(at, timeout=ANSWER_S)
            at.offset = max(low, high - NEWEST)
            consumer.assign([at])
            messages = consumer.consume(high - at.offset, ANSWER_S) if high > at.offset else []
            found += decoded(partition, [message for message in messages if message.error() is None])
    finally:
        consumer.close()
    return found


def decoded(partition: int, messages: Sequence[Message]) -> Iterator[Outcome]:
    """What can be read; the rest is logged and left out."""
    for message in messages:
        try:
            yield OUTCOMES.decode(message.value() or b"")
        except SchemaError as error:
            structlog.get_logger().warning(
                "an outcome could not be read and is left out",
                partition=partition, offset=message.offset(), reason=str(error),
            )  # fmt: skip
