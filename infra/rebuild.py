"""Rebuilding the state of a scoring process from the log: the topic, and ClickHouse for what the topic no longer has."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from infra.archive import ClickHouseArchive, refuse_gaps
from infra.failpoints import hit
from infra.kafka_log import KafkaLog
from infra.recovery import RecoveryStore
from infra.said import said
from infra.seeds import header_of, write_seed
from infra.settings import Kafka
from processors.columns import LogStretch
from processors.shard import Shard, ShardOutput
from schemas.errors import LogError
from schemas.rows import Latest
from streams.blocks import BlockBuffer
from streams.decode import decode
from streams.messages import MessageMaker
from streams.ports import MessageWriter, TableStore
from streams.refold import Door, NewestOnly, Refolded, Unsaid, refold, through

BLOCK: Final = 65_536
PATIENCE_S: Final = 20.0
Progress = Callable[[int, int], None]
"""Told (records done, records in all)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A partition: folded from `first` up to `end`, of which the topic has what is from `low` on."""

    partition: int
    first: int
    low: int
    end: int


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where what is folded goes: rows above the high-water marks, messages that were not said, the newest rows."""

    tables: TableStore
    buffer: BlockBuffer
    writer: MessageWriter
    messages: MessageMaker
    latest: Callable[[Sequence[Latest]], object]
    revise: Callable[[ShardOutput], ShardOutput] = lambda output: output
    """As of `streams.flow.build`."""


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did; `lost`: (partition, first, next) of records that nobody has."""

    partitions: dict[int, int] = field(default_factory=dict)
    """To the next offset."""
    records: int = 0
    archived: int = 0
    """Of them, how many came from ClickHouse."""
    lost: list[tuple[int, int, int]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One rebuild of a group's partitions, as far as the topic goes now."""

    log: KafkaLog
    kafka: Kafka
    archive: ClickHouseArchive
    store: RecoveryStore
    make: Callable[[int], Shard]
    outlets: Outlets
    accept_loss: bool = False

    def run(self, ends: dict[int, tuple[int, int]], tell: Progress) -> RebuildReport:
        """Fold and put a new recovery store in place. `ends`: partition to (first, next offset) that the topic has now.

        Killed at any moment the old store is what it was, and running again does the same.
        """
        began, report = time.monotonic(), RebuildReport()
        spans = [self._span(partition, *ends[partition]) for partition in self.log.partitions]
        total, done = sum(span.end - span.first for span in spans), 0
        self._say(spans)

        def count(records: int) -> None:
            nonlocal done
            done += records
            hit("rebuild.midway")
            tell(done, total)

        doors = self._doors()
        folded = [self._partition(span, doors, count, report) for span in spans]
        self.store.replace(lambda path: self._sow(path, folded))
        report.records, report.seconds = done, time.monotonic() - began
        report.partitions = {each.partition: each.next_offset for each in folded}
        return report

    def _span(self, partition: int, low: int, end: int) -> Span:
        first = self.archive.first(partition)
        return Span(partition, low if first is None else min(first, low), low, max(low, end))

    def _say(self, spans: Sequence[Span]) -> None:
        log = structlog.get_logger()
        log.info(
            "rebuilding", store=str(self.store.path), from_clickhouse=sum(span.low - span.first for span in spans),
            from_topic=sum(span.end - span.low for span in spans),
        )  # fmt: skip
        if self.store.path.exists():
            log.info("the state there is will be thrown away once the new one is whole", store=str(self.store.path))

    def _doors(self) -> list[Door]:
        """What every output goes through; the buffer knows by then what is stored."""
        for partition in self.log.partitions:
            self.outlets.buffer.open(partition)
        stored = self.outlets.tables.high_waters
        there = said(
            self.kafka, self.log.log_id, self.log.partitions, lambda table, partition: stored([table], partition)[table]
        )
        return [self.outlets.buffer.add, Unsaid(self.outlets.writer, self.outlets.messages, there)]

    def _partition(
        self, span: Span, doors: Sequence[Door], count: Callable[[int], None], report: RebuildReport
    ) -> Refolded:
        newest = NewestOnly(self.outlets.messages)
        stretches = self._stretches(span, report)
        shard = self.make(span.partition)
        door = through(shard, self.outlets.revise, [*doors, newest])
        folded = refold(shard, span.first, stretches, door, count)
        self.outlets.writer.flush()
        self.outlets.buffer.flush()
        self.outlets.latest(list(newest.rows.values()))
        return folded

    def _stretches(self, span: Span, report: RebuildReport) -> Iterator[LogStretch]:
        for part in self.archive.read(span.partition, span.first, span.low):
            if not self.accept_loss:
                refuse_gaps(span.partition, list(part.missing))
            report.lost += [(span.partition, first, end) for first, end in part.missing]
            report.archived += len(part.stretch.events) + len(part.stretch.rejected)
            yield part.stretch
        if span.low < span.end:
            yield from self._from_topic(span)

    def _from_topic(self, span: Span) -> Iterator[LogStretch]:
        reader, at, heard = self.log.open(span.partition, span.low), span.low, time.monotonic()
        try:
            while at < span.end:
                poll = reader.poll(min(BLOCK, span.end - at))
                if poll is None:
                    if time.monotonic() - heard > PATIENCE_S:
                        raise LogError(
                            f"partition {span.partition}@{at}: expected records up to {span.end}, nothing came for "
                            f"{PATIENCE_S:.0f} s; look at the broker and run it again"
                        )
                    time.sleep(0.002)
                    continue
                at, heard = poll.offsets[-1] + 1, time.monotonic()
                yield decode(poll)
        finally:
            reader.close()

    def _sow(self, path: Path, folded: Sequence[Refolded]) -> None:
        for each in folded:
            at = (each.partition, each.next_offset)
            header = header_of(self.log.log_id, self.store.step, self.store.features_id, at, each.snapshot)
            write_seed(path, header, each.snapshot)
