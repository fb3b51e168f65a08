"""Reading the log for a nightly replay: from an archive where the topic has it no longer, then from the topic, in blocks."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from infra.archive import ClickHouseArchive, refuse_gaps
from infra.clickhouse import connect
from infra.event_archive import ParquetArchive
from infra.log_identity import LogIdentity, all_logs, reader_of, spans
from infra.nightly.plan import Plan
from infra.settings import Settings
from processors.columns import LogStretch
from schemas.errors import LogError
from streams.archive import Archived
from streams.decode import Poll, decode
from streams.nightly import BLOCK
from streams.ports import PartitionReader

SILENCE_S: Final = 20.0
ON_EMPTY_S: Final = 0.001
POLLED: Final = 1_024
"""Records asked of the client at a time: of 16,384 at once each costs it three times as much."""


class Archive(Protocol):
    """The log where the topic no longer has it."""

    def first(self, partition: int) -> int | None:
        """Its first offset; None where it has nothing of this partition."""

    def read(self, partition: int, first: int, end: int) -> Iterator[Archived]:
        """The records `[first, end)`, and what is missing of them."""


@dataclass(frozen=True)
class Work:
    """What a process must know to fold a partition."""

    settings: Settings
    plan: Plan
    plan_id: str
    directory: Path
    events: Path | None = None
    """A Parquet archive of events, in place of ClickHouse's."""
    accept_loss: bool = False


@dataclass
class Spent:
    """Seconds of one process by what they went into; `folding` is the rest. `cpu_seconds`: of the threads that fold and write."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    writing_cpu_seconds: float = 0.0
    """Of them, those of the pieces, which are written while the next one is folded."""
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Everything within goes to this part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - began


@dataclass(frozen=True)
class Reading:
    """The records of the log, in blocks: from the archive while the topic has them no longer, then from the topic."""

    work: Work
    spent: Spent

    def stretches(self, partition: int, at: int, end: int) -> Iterator[LogStretch]:
        kafka, log_id = self.work.settings.kafka, self.work.plan.log_id
        (log,) = [log for log in all_logs(kafka) if log.log_id == log_id]
        for stop in archived_to(lambda: spans(kafka, log)[partition][0], at, end):
            yield from self._archived(partition, at, stop)
            at = stop
        for poll in self._polls(log, partition, at, end):
            with self.spent.on("decoding"):
                stretch = decode(poll)
            yield stretch

    def _archived(self, partition: int, at: int, end: int) -> Iterator[LogStretch]:
        with archive_of(self.work.settings, self.work.plan.log_id, self.work.events) as archive:
            for part in archive.read(partition, at, end):
                if not self.work.accept_loss:
                    refuse_gaps(partition, list(part.missing))
                if len(part.stretch.events) or part.stretch.rejected:
                    yield part.stretch

    def _polls(self, log: LogIdentity, partition: int, at: int, end: int) -> Iterator[Poll]:
        polls = polls_of(self.work.settings, log, partition, at, end)
        while True:
            with self.spent.on("reading"):
                poll = next(polls, None)
            if poll is None:
                return
            yield poll


def archived_to(low: Callable[[], int], at: int, end: int) -> Iterator[int]:
    """Up to which offsets the archive is to be read, from `at` on: to where the topic begins, which moves on meanwhile."""
    while at < (stop := min(low(), end)):
        yield stop
        at = stop


def block(reader: PartitionReader, partition: int, at: int, end: int) -> Poll:
    """The next `BLOCK` records, or all up to `end`; a fold of few costs as much as one of some hundreds."""
    values: list[bytes | None] = []
    offsets: list[int] = []
    broker: list[int] = []
    heard = time.monotonic()
    while at < end and len(offsets) < BLOCK:
        poll = reader.poll(min(POLLED, BLOCK - len(offsets), end - at))
        if poll is None:
            if time.monotonic() - heard > SILENCE_S:
                raise LogError(
                    f"partition {partition}@{at}: expected records up to {end}, nothing came for {SILENCE_S:.0f} s; look at "
                    "the broker and run it again: it goes on behind the last piece"
                )
            time.sleep(ON_EMPTY_S)
            continue
        values += poll.values
        offsets += poll.offsets
        broker += poll.ts_broker
        at, heard = offsets[-1] + 1, time.monotonic()
    return Poll(partition, values, offsets, broker)


@contextmanager
def archive_of(settings: Settings, log_id: str, events: Path | None) -> Iterator[Archive]:
    """The Parquet archive at `events`, else ClickHouse's."""
    if events is not None:
        yield ParquetArchive(events, log_id)
        return
    clickhouse = settings.clickhouse
    url, timeout_s = clickhouse.url.get_secret_value(), clickhouse.timeout.total_seconds()
    with closing(connect(url, timeout_s=timeout_s, name="tickwire-nightly")) as database:
        yield ClickHouseArchive(database, clickhouse.database, log_id)


def save_events(
    settings: Settings, log: LogIdentity, held: Mapping[int, tuple[int, int]], directory: Path,
    told: Callable[[str, int, int], None],
) -> None:  # fmt: skip
    """Copy what the topic holds of a log, and the archive does not, into a Parquet archive. `LogError` where records between
    its end and the topic's first are gone from both.
    """  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    archive = ParquetArchive(directory, log.log_id)
    todo = {p: (max(low, archive.end(p) or low), high) for p, (low, high) in held.items()}
    for partition, (low, _) in held.items():
        end = archive.end(partition)
        if end is not None and end < low:
            refuse_gaps(partition, [(end, low)])
    done, total = 0, sum(max(0, high - low) for low, high in todo.values())

    def counted(polls: Iterator[Poll]) -> Iterator[Poll]:
        nonlocal done
        for poll in polls:
            yield poll
            done += len(poll.offsets)
            told("saving events", done, total)

    for partition, (at, end) in todo.items():
        archive.keep(partition, counted(polls_of(settings, log, partition, at, end)))


def polls_of(settings: Settings, log: LogIdentity, partition: int, at: int, end: int) -> Iterator[Poll]:
    """The records `[at, end)` of a partition, in blocks."""
    if at >= end:
        return
    with closing(reader_of(settings.kafka, log, [partition]).open(partition, at)) as reader:
        while at < end:
            poll = block(reader, partition, at, end)
            at = poll.offsets[-1] + 1
            yield poll
