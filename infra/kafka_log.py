"""Reading Kafka: the events log from where the state says."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra.failpoints import hit
from infra.kafka import ANSWER_S, client_config
from infra.settings import Kafka
from schemas.errors import LogError, RecoveryError, TickwireError
from schemas.topics import EVENTS
from streams.decode import Poll

READER: Final[Mapping[str, Any]] = {
    "group.id": "tickwire",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 8_192,  # of each partition; a backlog is not to be held in memory
    "fetch.error.backoff.ms": 100,
}


@dataclass
class KafkaPartitionReader:
    """`streams.ports.PartitionReader` of one partition."""

    consumer: Consumer
    partition: int
    next_offset: int
    end: int | None = None
    """Of a closed log: what lies behind it belongs to another one."""
    high: int = -1
    """Where the broker's log ended when it was last asked for; -1 before that."""

    def poll(self, most: int) -> Poll | None:
        if self.ended():
            return None
        messages: list[Message] = self.consumer.consume(most, 0)
        if not messages:
            return None
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            self._judge([message for message in messages if message.error() is not None])
            if not good:
                return None
        offsets = [message.offset() for message in good]
        if self.end is not None and offsets[-1] >= self.end:
            return self._before_end(good)
        self.next_offset = offsets[-1] + 1
        hit("source.after_poll")
        return Poll(
            self.partition, [message.value() for message in good], offsets, [message.timestamp()[1] for message in good]
        )

    def _before_end(self, messages: Sequence[Message]) -> Poll | None:
        ours = [message for message in messages if message.offset() < (self.end or 0)]
        self.next_offset = max(self.next_offset, self.end or 0)
        if not ours:
            return None
        return Poll(
            self.partition,
            [message.value() for message in ours],
            [message.offset() for message in ours],
            [message.timestamp()[1] for message in ours],
        )

    def ended(self) -> bool:
        return self.end is not None and self.next_offset >= self.end

    def _judge(self, failed: Sequence[Message]) -> None:
        for message in failed:
            error = message.error()
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise LogError(
                    f"{EVENTS.name}[{self.partition}]@{self.next_offset}: the broker no longer has this offset "
                    f"({error.str()}); it passed out of retention, the topic was made anew or its end was lost; start again to "
                    "hear which, and what to do"
                )
            if error.fatal() or not error.retriable():
                raise LogError(f"{EVENTS.name}[{self.partition}]@{self.next_offset}: {error.str()}")

    def lag(self) -> int:
        if self.end is not None:
            return max(0, self.end - self.next_offset)
        with suppress(RuntimeError):  # closed: the threads that tell of it end a little later
            at = TopicPartition(EVENTS.name, self.partition)
            self.high = self.consumer.get_watermark_offsets(at, cached=True)[1]
        return max(0, self.high - self.next_offset) if self.high >= 0 else 0

    def close(self) -> None:
        self.consumer.close()


@dataclass
class KafkaLog:
    """`streams.ports.Log` over Kafka: the log `log_id`, which begins at `starts` and, once closed, stops at `ends`.

    `known`: by partition, the offset behind the newest record that our history holds; a log that no longer reaches from
    there is refused. `held`: the same by the tables that have a row of every record, for state that claims to have folded
    more; not compared where None.
    """

    kafka: Kafka
    log_id: str
    partitions: Sequence[int]
    readers: dict[int, KafkaPartitionReader] = field(default_factory=dict)
    starts: Mapping[int, int] = field(default_factory=dict)
    ends: Mapping[int, int] | None = None
    known: Mapping[int, int] = field(default_factory=dict)
    held: Mapping[int, int] | None = None
    gives_up: bool = False
    """Records of a closed log that retention has passed are given up, and counted in `lost`; `LogError` else."""
    lost: dict[int, int] = field(default_factory=dict)
    """By partition, how many records of a closed log passed out of retention before they were folded."""

    def open(self, partition: int, offset: int | None) -> KafkaPartitionReader:
        consumer = Consumer({**client_config(self.kafka), **READER})
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(EVENTS.name, partition), timeout=ANSWER_S)
            start, end = self._reach(partition, offset, low, high)
        except TickwireError:
            consumer.close()
            raise
        if end is None or start < end:
            consumer.assign([TopicPartition(EVENTS.name, partition, start)])
        reader = self.readers[partition] = KafkaPartitionReader(consumer, partition, start, end)
        return reader

    def _reach(self, partition: int, offset: int | None, low: int, high: int) -> tuple[int, int | None]:
        """Where reading begins and, for a closed log, ends; `LogError` where records between are gone."""
        first, end = self.starts.get(partition, 0), None if self.ends is None else self.ends.get(partition, 0)
        start, folded = max(low, first) if offset is None else offset, first if offset is None else offset
        if self.gives_up and end is not None and folded < min(low, end):
            start = self._lose(partition, folded, min(low, end))
        if end is not None and start >= end:
            return start, end  # all that is left of it has been folded
        told = f"{EVENTS.name}[{partition}]: expected offset {start} where reading goes on, found {low} to {high}; "
        known = max(start, self.known.get(partition, 0))
        if known > high:
            raise LogError(
                f"{told}the log has lost its end: at least {known - high} records that we have read are gone, and their "
                f"offsets would be given out again; the topic has kept its id, so give the log a name of its own: set "
                f"TICKWIRE_KAFKA__LOG_ID to a new one for every process, then run `tickwire rebuild --new-log` (what the topic "
                f"holds is folded again under it; the old history stays)"
            )
        if start < low:
            raise LogError(
                f"{told}the topic's retention has passed {low - start} records that were not folded; run `tickwire rebuild`, "
                "which goes on from what ClickHouse holds"
            )
        if offset is None:
            self._confirm_whole(partition, low, first)
        else:
            self._confirm_held(partition, offset, max(low, first))
        return start, end

    def _lose(self, partition: int, start: int, end: int) -> int:
        """Give up what nobody can read any more: a closed log is not rebuilt for it, and the next one waits."""
        self.lost[partition] = end - start
        structlog.get_logger().warning(
            "the topic's retention has passed records of a closed log that were not folded",
            log_id=self.log_id, partition=partition, first=start, lost=end - start,
        )  # fmt: skip
        return end

    def _confirm_whole(self, partition: int, low: int, first: int) -> None:
        """`RecoveryError` where there is no state, though there is history, and what it was folded from is no longer all here."""
        known = self.known.get(partition, 0)
        if first < low and known:
            raise RecoveryError(
                f"{EVENTS.name}[{partition}]",
                f"none of this partition, though ClickHouse has rows of its records below offset {known}, of which the topic "
                f"no longer has those below {low}: another group folded them, or the state is gone",
                "run `tickwire rebuild`, which goes on from what ClickHouse holds",
            )

    def _confirm_held(self, partition: int, offset: int, least: int) -> None:
        """`RecoveryError` where the state has folded records of which ClickHouse has no row: rows come before state.

        State that has folded nothing yet goes on from `least`, where the log begins.
        """
        held = offset if self.held is None else self.held.get(partition, 0)
        if held < offset and (held or offset > least):
            raise RecoveryError(
                f"{EVENTS.name}[{partition}]",
                f"one that has folded every record below offset {offset}, while ClickHouse has rows of those below {held} "
                "only: ClickHouse has lost its end, and going on would leave that hole for good",
            )


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
