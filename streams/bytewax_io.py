"""Bytewax's source and sinks over our ports; every sink is partitioned, since stateless ones lose rows under kill -9."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter, thread_time

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from processors.shard import ShardOutput
from schemas.topics import ALERTS, BARS, DEAD_LETTERS, OUTCOMES, PREDICTIONS
from streams.blocks import BlockBuffer
from streams.decode import Poll
from streams.messages import MessageMaker
from streams.newest import NewestRows
from streams.ports import Clock, Log, MessageWriter, Meter, PartitionReader

MOST_POLLED = 4096
FEW = 512
GATHER_S = 0.004
"""At least, after a poll of few records: a stretch costs about a millisecond whatever its length."""
IDLE_SHARE = 2.0
"""And this many times what the worker has used of its core since the partition's poll before, but no more than this:"""
MOST_GATHERED_S = 0.04
STAGE = "tickwire_score_stage_seconds"


def part_name(partition: int) -> str:
    """Bytewax sorts partitions by name."""
    return f"{partition:05d}"


class _Reading(StatefulSourcePartition[tuple[str, Poll], int]):
    def __init__(self, partition: int, reader: PartitionReader, source: "EventSource", meter: Meter) -> None:
        self._name, self._reader, self._next = part_name(partition), reader, reader.next_offset
        self._source, self._meter = source, meter
        self._few = False
        self._used, self._took = thread_time(), 0.0

    def next_batch(self) -> list[tuple[str, Poll]]:
        if self._source.stop():
            raise AbortExecution
        began, used = perf_counter(), thread_time()
        self._took, self._used = used - self._used, used
        poll = self._reader.poll(MOST_POLLED)
        self._few = poll is None or len(poll.values) < FEW
        if poll is None:
            if self._reader.ended():
                raise StopIteration
            self._source.meanwhile()
            return []
        self._meter.observe(STAGE, perf_counter() - began, stage="consume")
        self._next = poll.offsets[-1] + 1
        return [(self._name, poll)]

    def next_awake(self) -> datetime | None:
        if not self._few:
            return None
        gathered_s = min(max(GATHER_S, IDLE_SHARE * self._took), MOST_GATHERED_S)
        return datetime.fromtimestamp(self._source.clock.now_ns() / 1e9, UTC) + timedelta(seconds=gathered_s)

    def snapshot(self) -> int:
        return self._next

    def close(self) -> None:
        self._reader.close()


class EventSource(FixedPartitionedSource[tuple[str, Poll], int]):
    """Polls of the events log, one item per poll, keyed by partition.

    `stop`: asked before each poll. `meanwhile`: called where a partition has nothing to read.
    """

    def __init__(
        self, log: Log, clock: Clock, stop: Callable[[], bool], meanwhile: Callable[[], None], meter: Meter
    ) -> None:
        self._log, self._meter = log, meter
        self.clock, self.stop, self.meanwhile = clock, stop, meanwhile

    def list_parts(self) -> list[str]:
        return [part_name(partition) for partition in self._log.partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Reading:  # noqa: ARG002
        partition = int(for_part)
        reader = self._log.open(partition, resume_state)
        return _Reading(partition, reader, self, self._meter)


class PartitionedSink(FixedPartitionedSink[ShardOutput, None]):
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


class TableSink(PartitionedSink):
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
                (ALERTS, self._maker.alerts(output)),
                (DEAD_LETTERS, self._maker.dead_letters(output)),
            ):
                self._writer.send(topic, output.partition, messages)
            self._meter.observe(STAGE, perf_counter() - began, stage="predictions")

    def snapshot(self) -> None:
        began = perf_counter()
        self._writer.flush()
        self._meter.observe(STAGE, perf_counter() - began, stage="acknowledge")


class TopicSink(PartitionedSink):
    """Predictions, bars, outcomes, alerts and dead letters to their topics; acknowledged before the epoch is committed."""

    def __init__(self, partitions: list[int], writer: MessageWriter, maker: MessageMaker, meter: Meter) -> None:
        super().__init__(partitions)
        self._writer, self._maker, self._meter = writer, maker, meter

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Topics:  # noqa: ARG002
        return _Topics(self._writer, self._maker, self._meter)


class _Latest(StatefulSinkPartition[ShardOutput, None]):
    def __init__(
        self, newest: NewestRows, maker: MessageMaker, noticed: Callable[[ShardOutput], None], meter: Meter
    ) -> None:
        self._newest, self._maker, self._noticed, self._meter = newest, maker, noticed, meter

    def write_batch(self, values: list[ShardOutput]) -> None:
        for output in values:
            began = perf_counter()
            rows = self._maker.latest(output)
            self._meter.observe(STAGE, perf_counter() - began, stage="latest")
            self._newest.add(rows)
            self._noticed(output)

    def snapshot(self) -> None:
        self._newest.flush()


class LatestSink(PartitionedSink):
    """The newest row of every symbol into Redis."""

    def __init__(
        self,
        partitions: list[int],
        newest: NewestRows,
        maker: MessageMaker,
        noticed: Callable[[ShardOutput], None],
        meter: Meter,
    ) -> None:
        super().__init__(partitions)
        self._newest, self._maker, self._noticed, self._meter = newest, maker, noticed, meter

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Latest:  # noqa: ARG002
        return _Latest(self._newest, self._maker, self._noticed, self._meter)
