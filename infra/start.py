"""The state that a scoring process starts from: what it left, nothing yet, or a rebuild."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from infra.archive import ClickHouseArchive
from infra.clickhouse import Database, connect
from infra.composition import ShardMaker
from infra.high_water import HighWaters
from infra.kafka_log import KafkaLog, KafkaPartitionReader
from infra.kafka_writer import KafkaWriter
from infra.rebuild import Ends, Outlets, Progress, Rebuild, RebuildReport
from infra.recovery import RecoveryStore, ask_for_rebuild, request_path
from infra.redis import LatestStore
from infra.settings import Settings
from infra.tables import ClickHouseTables
from infra.trade_history import ClickHouseTradeHistory
from infra.writers import Lease
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.errors import StoreUnavailable
from schemas.rows import Latest
from schemas.tables import tables
from streams.archive import ARCHIVE
from streams.blocks import BlockBuffer
from streams.messages import MessageMaker
from streams.ports import Meter
from streams.revisions import Reviser
from streams.rows import RowMaker

TELL_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Computation:
    """What a scoring process folds, with what, and into which words."""

    settings: Settings
    log: KafkaLog
    group: str
    step: str
    make: ShardMaker
    rows: RowMaker
    messages: MessageMaker
    meter: Meter
    writer: Lease


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to start.

    rebuild   fold from the log's first record, whatever state there is      live   then go on scoring
    tell      is told how far a rebuild is, and may raise to end it          done   is told what it did
    new_log   go on under the log that the broker has now, whatever our history was written from
    last      nothing comes behind this log: with it what was asked for is done
    """

    rebuild: bool = False
    accept_loss: bool = False
    new_log: bool = False
    live: bool = True
    last: bool = True
    tell: Progress | None = None
    done: Callable[[RebuildReport], None] | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """Where Bytewax keeps its state, and what to begin with where it has none."""

    path: Path
    make: ShardMaker
    log: "SeededLog"


@dataclass(frozen=True, slots=True)
class SeededLog:
    """`streams.ports.Log` that begins where the seeds end, unless told where to go on."""

    log: KafkaLog
    starts: dict[int, int]

    @property
    def log_id(self) -> str:
        return self.log.log_id

    @property
    def partitions(self) -> Sequence[int]:
        return self.log.partitions

    def open(self, partition: int, offset: int | None) -> KafkaPartitionReader:
        return self.log.open(partition, self.starts.get(partition) if offset is None else offset)


def start(computation: Computation, ends: Ends, wanted: Wanted) -> Started:
    """Check what the last run left, make a new store, or rebuild it where that is asked for or the computation is another.

    ends: asked for partition to (first, next offset) that the topic has. `RecoveryError` where state is missing or broken.
    """
    store = RecoveryStore(
        computation.settings.data / "recovery", computation.group, computation.log.log_id, computation.step, FEATURES_ID
    )
    asked = request_path(computation.settings.data, computation.group)
    by_person = asked.exists()
    store.put_back()
    with database_of(computation.settings) as database:
        state = store.state(lambda: _stored_ids(database, computation))
        if wanted.rebuild or by_person or state == "changed":
            if state == "changed":
                ask_for_rebuild(computation.settings.data, computation.group)  # so that `up` waits for it
            why = "what is computed has changed" if state == "changed" else "asked for"
            structlog.get_logger().info("rebuild", why=why)
            report = _rebuild(computation, store, database, ends, wanted)
            if wanted.last or not by_person:
                asked.unlink(missing_ok=True)
            if wanted.done is not None:
                wanted.done(report)
        elif state == "missing":
            raise store.missing()
        elif state == "new":
            store.make()
        store.check(lambda snapshot: computation.make(0, snapshot))
        store.note()
        seeds = store.seeds()
        starts = {partition: seed.next_offset for partition, seed in seeds.items()}
        log = replace(computation.log, held=_held(database, computation, starts) if wanted.live else None)
    make = replace(computation.make, seeds={partition: seed.snapshot for partition, seed in seeds.items()})
    return Started(store.path, make, SeededLog(log, starts))


def _held(database: Database, computation: Computation, seeded: Mapping[int, int]) -> Mapping[int, int]:
    """Partition to the offset behind the newest record that ClickHouse has a row of, or that a seed was made without."""
    log = computation.log
    stored = HighWaters(database, computation.settings.clickhouse.database, log.log_id, list(ARCHIVE))
    return {p: max(stored.after(p, log.starts.get(p, 0)), seeded.get(p, 0)) for p in log.partitions}


def stoppable(wanted: Wanted, stop: threading.Event) -> Wanted:
    """The same, but a rebuild ends at the next stretch once `stop` is set; SystemExit says so."""
    inner = wanted.tell or _told_in_logs()

    def tell(done: int, total: int) -> None:
        if stop.is_set():
            raise SystemExit(0)
        inner(done, total)

    return replace(wanted, tell=tell)


@contextmanager
def database_of(settings: Settings) -> Iterator[Database]:
    """The ClickHouse of the settings, closed behind it."""
    clickhouse = settings.clickhouse
    database = connect(clickhouse.url.get_secret_value(), timeout_s=clickhouse.timeout.total_seconds())
    try:
        yield database
    finally:
        database.close()


def _stored_ids(database: Database, computation: Computation) -> set[str]:
    """Feature ids of the rows that our partitions of this log have."""
    log = computation.log
    first = min((log.starts.get(partition, 0) for partition in log.partitions), default=0)
    found = database.rows(
        f"SELECT DISTINCT features_id FROM `{computation.settings.clickhouse.database}`.predictions "  # noqa: S608
        "WHERE log_id = {log:String} AND src_partition IN {partitions:Array(UInt16)} AND src_offset >= {first:Int64}",
        {"log": log.log_id, "partitions": list(log.partitions), "first": first},
    )
    return {str(row[0]) for row in found.rows}


def _rebuild(
    computation: Computation,
    store: RecoveryStore,
    database: Database,
    ends: Ends,
    wanted: Wanted,
) -> RebuildReport:
    settings, log_id = computation.settings, computation.log.log_id
    name = settings.clickhouse.database
    stored = ClickHouseTables(
        database, name, log_id, writer=computation.writer, meter=computation.meter, starts=computation.log.starts
    )
    names = [table.name for table in tables(FEATURE_NAMES)]
    buffer = BlockBuffer(stored, computation.rows, names, computation.meter)
    ttl_s, writer = settings.redis.ttl.total_seconds(), computation.writer
    latest = LatestStore(settings.redis.url.get_secret_value(), ttl_s=ttl_s, writer=writer)
    topics = KafkaWriter(settings.kafka, writer.wait)
    history = ClickHouseTradeHistory(database, name, log_id)
    revise = Reviser(computation.make.fold_rules.bars, history, buffer.stored, computation.meter)
    outlets = Outlets(buffer, topics, computation.messages, _where_there_is_redis(latest), revise)
    rebuild = Rebuild(
        computation.log, settings.kafka, ClickHouseArchive(database, name, log_id), store, computation.make, outlets,
        wanted.accept_loss,
    )  # fmt: skip
    try:
        report = rebuild.run(ends, wanted.tell or _told_in_logs())
    finally:
        buffer.close()
        latest.close()
    structlog.get_logger().info(
        "rebuilt",
        records=report.records,
        from_clickhouse=report.archived,
        lost=report.lost,
        seconds=round(report.seconds, 2),
    )
    return report


def _where_there_is_redis(latest: LatestStore) -> Callable[[Sequence[Latest]], None]:
    def write(rows: Sequence[Latest]) -> None:
        try:
            latest.write(rows)
        except StoreUnavailable as error:
            structlog.get_logger().warning("newest rows not written", reason=str(error))

    return write


def _told_in_logs() -> Progress:
    """Says how far it is every few seconds."""
    said_at = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > TELL_EVERY_S:
            said_at = time.monotonic()
            structlog.get_logger().info("rebuilding", done=done, total=total)

    return tell
