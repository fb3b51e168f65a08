"""Bytewax's source and sinks over our ports; every sink is partitioned, since stateless ones lose rows under kill -9."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from processors.shard import ShardOutput
from schemas.topics import BARS, DEAD_LETTERS, OUTCOMES, PREDICTIONS
from streams.blocks import BlockBuffer
from streams.decode import Poll
from streams.messages import MessageMaker
from streams.ports import Clock, LatestStore, Log, MessageWriter, Meter, PartitionReader

MOST_POLLED = 4096
IDLE_S = 0.002
STAGE = "tickwire_score_stage_seconds"


def part_name(partition: int) -> str:
    """Bytewax sorts partitions by name."""
    return f"{partition:05d}"


class _Reading(StatefulSourcePartition[tuple[str, Poll], int]):
    def __init__(
        self, partition: int, reader: PartitionReader, offset: int, clock: Clock, stop: Callable[[], bool], meter: Meter
    ) -> None:
        self._name, self._reader, self._next = part_name(partition), reader, offset
        self._clock, self._stop, self._meter = clock, stop, meter
        self._idle = False

    def next_batch(self) -> list[tuple[str, Poll]]:
        if self._stop():
            raise AbortExecution
        began = perf_counter()
        poll = self._reader.poll(MOST_POLLED)
        self._idle = poll is None
        if poll is None:
            return []
        self._meter.observe(STAGE, perf_counter() - began, stage="consume")
        self._next = poll.offsets[-1] + 1
        return [(self._name, poll)]

    def next_awake(self) -> datetime | None:
        if not self._idle:
            return None
        return datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC) + timedelta(seconds=IDLE_S)

    def snapshot(self) -> int:
        return self._next

    def close(self) -> None:
        self._reader.close()


class EventSource(FixedPartitionedSource[tuple[str, Poll], int]):
    """Polls of the events log, one item per poll, keyed by partition."""

    def __init__(self, log: Log, clock: Clock, stop: Callable[[], bool], meter: Meter) -> None:
        self._log, self._clock, self._stop, self._meter = log, clock, stop, meter

    def list_parts(self) -> list[str]:
        return [part_name(partition) for partition in self._log.partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Reading:  # noqa: ARG002
        partition = int(for_part)
        reader = self._log.open(partition, resume_state)
        return _Reading(partition, reader, resume_state or 0, self._clock, self._stop, self._meter)


class _Sink(FixedPartitionedSink[ShardOutput, None]):
    """One part per source partition, so that rows keep the order of the log."""

    def __init__(self, partitions: list[int]) -> None:
        self._partitions = sorted(partitions)

    def list_parts(self) -> list[str]:
        return [part_name(partition) for partition in self._partitions]

    def part_fn(self, item_key: str) -> int:
        return self._partitions.index(int(item_key))


class _Tables(StatefulSinkPartition[ShardOutput, None]):
    def __init__(self, buffer: BlockBuffer) -> None:
        self._buffer = buffer

    def write_batch(self, values: list[ShardOutput]) -> None:
        for output in values:
            self._buffer.add(output)

    def snapshot(self) -> None:
        self._buffer.flush()

    def close(self) -> None:
        self._buffer.close()


class TableSink(_Sink):
    """Everything into ClickHouse, before the epoch is committed."""

    def __init__(self, partitions: list[int], buffer: BlockBuffer) -> None:
        super().__init__(partitions)
        self._buffer = buffer

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Tables:  # noqa: ARG002
        self._buffer.open(int(for_part))
        return _Tables(self._buffer)


class _Topics(StatefulSinkPartition[ShardOutput, None]):
    def __init__(self, writer: MessageWriter, maker: MessageMaker, meter: Meter) -> None:
        self._writer, self._maker, self._meter = writer, maker, meter

    def write_batch(self, values: list[ShardOutput]) -> None:
        for output in values:
            began = perf_counter()
            for topic, messages in (
                (PREDICTIONS, self._maker.predictions(output)),
                (BARS, self._maker.bars(output)),
                (OUTCOMES, self._maker.outcomes(output)),
                (DEAD_LETTERS, self._maker.dead_letters(output)),
            ):
                self._writer.send(topic, output.partition, messages)
            self._meter.observe(STAGE, perf_counter() - began, stage="predictions")

    def snapshot(self) -> None:
        began = perf_counter()
        self._writer.flush()
        self._meter.observe(STAGE, perf_counter() - began, stage="acknowledge")


class TopicSink(_Sink):
    """Predictions, bars, outcomes and dead letters to their topics; acknowledged before the epoch is committed."""

    def __init__(self, partitions: list[int], writer: MessageWriter, maker: MessageMaker, meter: Meter) -> None:
        super().__init__(partitions)
        self._writer, self._maker, self._meter = writer, maker, meter

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Topics:  # noqa: ARG002
        return _Topics(self._writer, self._maker, self._meter)


class _Latest(StatefulSinkPartition[ShardOutput, None]):
    def __init__(
        self, store: LatestStore, maker: MessageMaker, noticed: Callable[[ShardOutput], None], meter: Meter
    ) -> None:
        self._store, self._maker, self._noticed, self._meter = store, maker, noticed, meter

    def write_batch(self, values: list[ShardOutput]) -> None:
        for output in values:
            began = perf_counter()
            self._store.write(self._maker.latest(output))
            self._meter.observe(STAGE, perf_counter() - began, stage="redis")
            self._noticed(output)

    def snapshot(self) -> None:
        """Nothing: a cache."""


class LatestSink(_Sink):
    """The newest row of every symbol into Redis."""

    def __init__(
        self,
        partitions: list[int],
        store: LatestStore,
        maker: MessageMaker,
        noticed: Callable[[ShardOutput], None],
        meter: Meter,
    ) -> None:
        super().__init__(partitions)
        self._store, self._maker, self._noticed, self._meter = store, maker, noticed, meter

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Latest:  # noqa: ARG002
        return _Latest(self._store, self._maker, self._noticed, self._meter)
