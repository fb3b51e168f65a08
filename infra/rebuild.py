"""Rebuilding the state of a scoring process from the log: the topic, and ClickHouse for what the topic no longer has."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from streams.ports import MessageWriter
from streams.refold import Door, NewestOnly, Refolded, Unsaid, refold, through

BLOCK: Final = 65_536
PATIENCE_S: Final = 20.0
Progress = Callable[[int, int], None]
"""Told (records done, records in all)."""
Ends = Callable[[], Mapping[int, tuple[int, int]]]
"""Asked for partition to (first, next offset) that the topic has."""


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

    def run(self, ends: Ends, tell: Progress) -> RebuildReport:
        """Fold and put a new recovery store in place, as far as the topic goes at the beginning.

        Killed at any moment the old store is what it was, and running again does the same.
        """
        began, report = time.monotonic(), RebuildReport()
        there = ends()
        spans = [self._span(partition, *there[partition]) for partition in self.log.partitions]
        total, done = sum(span.end - span.first for span in spans), 0
        self._say(spans)

        def count(records: int) -> None:
            nonlocal done
            done += records
            hit("rebuild.midway")
            tell(done, total)

        doors = self._doors()
        folded = []
        for span in spans:
            found = self._partition(span, doors, count, self._stretches(span, ends, report))
            folded.append(_behind(found, report.lost))
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
        """What every output goes through; the buffer knows by then what was stored."""
        for partition in self.log.partitions:
            self.outlets.buffer.open(partition)
        there = said(self.kafka, self.log.log_id, self.log.partitions, self.outlets.buffer.found)
        return [self.outlets.buffer.add, Unsaid(self.outlets.writer, self.outlets.messages, there)]

    def _partition(
        self, span: Span, doors: Sequence[Door], count: Callable[[int], None], stretches: Iterable[LogStretch]
    ) -> Refolded:
        newest = NewestOnly(self.outlets.messages)
        shard = self.make(span.partition)
        door = through(shard, self.outlets.revise, [*doors, newest])
        folded = refold(shard, span.first, stretches, door, count)
        self.outlets.writer.flush()
        self.outlets.buffer.flush()
        self.outlets.latest(list(newest.rows.values()))
        return folded

    def _stretches(self, span: Span, ends: Ends, report: RebuildReport) -> Iterator[LogStretch]:
        """From ClickHouse up to where the topic begins, which moves on meanwhile, and from the topic behind that."""
        at, low = span.first, ends()[span.partition][0]
        while at < low:
            yield from self._from_clickhouse(span.partition, at, low, report)
            at, low = low, ends()[span.partition][0]
        if at < span.end:
            yield from self._from_topic(span, at)

    def _from_clickhouse(self, partition: int, at: int, end: int, report: RebuildReport) -> Iterator[LogStretch]:
        for part in self.archive.read(partition, at, end):
            if not self.accept_loss:
                refuse_gaps(partition, list(part.missing))
            report.lost += [(partition, first, after) for first, after in part.missing]
            report.archived += len(part.stretch.events) + len(part.stretch.rejected)
            yield part.stretch

    def _from_topic(self, span: Span, at: int) -> Iterator[LogStretch]:
        reader, heard = self.log.open(span.partition, at), time.monotonic()
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


def _behind(folded: Refolded, lost: Sequence[tuple[int, int, int]]) -> Refolded:
    """The same, going on behind what was given up: records at the end that nobody has are not to be asked for again."""
    given_up = (after for partition, _, after in lost if partition == folded.partition)
    return replace(folded, next_offset=max([folded.next_offset, *given_up]))
