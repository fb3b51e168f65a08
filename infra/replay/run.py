"""`tickwire replay`: a stretch of the log through the same flow again, into a database of its own, while live goes on.

It has a consumer without a group, no recovery store (it is run whole), no lease, and the lowest claim on the processor.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bytewax._bytewax import run_main

from infra.clickhouse import Database, connect
from infra.clock import WallClock
from infra.composition import ShardMaker, calendars, load_model, rules, sessions, step_name
from infra.log_identity import current_log, reader_of, spans
from infra.models.triton_shadow import remembered, replayed_model
from infra.replay.names import checked_name, database_of
from infra.replay.store import ReplayRecord, ReplayStore, digests, output_hash
from infra.replay.topics import drop_topics, spoken_sinks
from infra.session_log import offsets_at
from infra.settings import Kafka, Settings
from infra.tables import ClickHouseTables
from infra.telemetry import Telemetry
from infra.trade_history import ClickHouseTradeHistory
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.errors import InputError
from schemas.tables import tables
from streams.bytewax_io import EventSource, PartitionedSink, TableSink
from streams.flow import Sinks, build
from streams.messages import MessageMaker
from streams.ports import Log
from streams.replay import NoSink, ReplayBuffer, Span, SpanLog
from streams.revisions import Reviser
from streams.rows import RowMaker
from streams.span_text import Bound

NICENESS: Final = 10
WHOLE: Final = Bound()
"""As far as the log reaches."""
LIVE_WITHIN_S: Final = 15.0
"""How long live may take to store what the replay has stored already."""


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """What to replay, how fast, and where to."""

    into: str
    first: Bound = WHOLE
    end: Bound = WHOLE
    speed: float = math.inf
    topics: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay has come; `event_ns` is the newest event time folded, 0 before the first."""

    records: int
    records_total: int
    event_ns: int


def replay(
    settings: Settings, options: ReplayOptions, told: Callable[[Progress], None], stop: Callable[[], bool]
) -> ReplayRecord:
    """Replay what the broker holds of the current log. `InputError` for a stretch or name that cannot be."""
    log = current_log(settings.kafka)
    chosen = stretch(settings.kafka, spans(settings.kafka, log), options)
    source = reader_of(settings.kafka, log, [span.partition for span in chosen])
    return replay_log(settings, source, chosen, options, told, stop)


def replay_log(
    settings: Settings, log: Log, chosen: Sequence[Span], options: ReplayOptions,
    told: Callable[[Progress], None], stop: Callable[[], bool],
) -> ReplayRecord:  # fmt: skip
    """Replay spans of any log: where retention has passed, another one may hold the records."""
    checked_name(options.into)
    database = _connected(settings)
    store = ReplayStore(database, settings.clickhouse.database)
    if options.replace:
        drop_topics(settings.kafka, options.into)  # else those of the former replay would stand beside new tables
    made = store.make(options.into, replace=options.replace)
    os.nice(NICENESS)
    began = time.monotonic()
    run = _Run(settings, SpanLog(log, chosen, WallClock(), options.speed), database, made)
    run.go(options, told, stop)
    record = _record(store, database, settings, run, options, time.monotonic() - began)
    store.note(record)
    database.close()
    return record


def _silent(partitions: list[int]) -> tuple[PartitionedSink, PartitionedSink, Callable[[], None]]:
    """Nobody listens to topics and newest rows."""
    return NoSink(partitions), NoSink(partitions), lambda: None


def _connected(settings: Settings) -> Database:
    clickhouse = settings.clickhouse
    return connect(
        clickhouse.url.get_secret_value(), timeout_s=clickhouse.timeout.total_seconds(),
        compression=clickhouse.compression,
    )  # fmt: skip


class _Run:
    """The flow over a paced log, with tables of its own."""

    def __init__(self, settings: Settings, log: SpanLog, database: Database, made: str) -> None:
        self.settings, self.log = settings, log
        self.rules = rules(settings.fold)
        self.onnx = load_model(settings)
        kinds = [kind.name for kind in self.rules.bars]
        common = (log.log_id, FEATURE_NAMES, FEATURES_ID, kinds)
        self.messages, maker = MessageMaker(*common), RowMaker(*common)
        names = [table.name for table in tables(FEATURE_NAMES)]
        self.telemetry = Telemetry()
        self.buffer = ReplayBuffer(ClickHouseTables(database, made, log.log_id), maker, names, self.telemetry)
        history = ClickHouseTradeHistory(database, made, log.log_id)
        self.revise = Reviser(self.rules.bars, history, self.buffer.stored, self.telemetry)

    def go(self, options: ReplayOptions, told: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
        """Until the last record is stored, or `stop` is true: then `InputError` says that it is not whole."""
        partitions = list(self.log.partitions)
        if not partitions:
            self.buffer.close()
            return
        topics, latest, flush = _silent(partitions)
        if options.topics:
            topics, latest, flush = spoken_sinks(self.settings, options.into, partitions, self.messages, self.telemetry)
        source = EventSource(self.log, WallClock(), stop, lambda: told(self.progress()), self.telemetry)
        load = remembered(lambda name: replayed_model(self.settings, name))
        kept = sessions(self.settings.fold, calendars(self.settings))
        make = ShardMaker(self.rules, kept, self.onnx, load=load)
        sinks = Sinks(topics, latest, TableSink(partitions, self.buffer))
        flow = build(source, make, sinks, step_name(self.rules, kept), self.telemetry, self.revise)
        try:
            run_main(flow)  # type: ignore[no-untyped-call]
        finally:
            self.buffer.abandon()
        flush()
        told(self.progress())
        if self.progress().records < self.progress().records_total:
            raise InputError(
                f"replay {options.into} was stopped after {self.progress().records:,} of "
                f"{self.progress().records_total:,} records; what it wrote is not whole: run it again with --replace, or "
                f"`tickwire replay --drop {options.into}`"
            )

    def progress(self) -> Progress:
        """Records folded so far."""
        told = self.buffer.told
        done = sum(max(0, min(told.offsets.get(s.partition, s.first), s.end) - s.first) for s in self.log.spans)
        return Progress(done, sum(map(len, self.log.spans)), told.event_ns)


def _record(
    store: ReplayStore, database: Database, settings: Settings, run: _Run, options: ReplayOptions, seconds: float
) -> ReplayRecord:
    live, chosen, log_id = settings.clickhouse.database, run.log.spans, run.log.log_id
    found = digests(database, database_of(live, options.into), log_id, chosen)
    live_hash: str | None = None
    differs: tuple[str, ...] = ()
    began = store.first_offsets(log_id)
    if all(span.first == began.get(span.partition, 0) for span in chosen):
        lived = _live(database, live, log_id, chosen, found)
        live_hash, differs = output_hash(lived), tuple(name for name in found if found[name] != lived[name])
    return ReplayRecord(
        name=options.into, log_id=log_id, speed=f"{options.speed:g}".replace("inf", "max"),
        spans=[(s.partition, s.first, s.end) for s in chosen], records=sum(map(len, chosen)),
        doors=run.buffer.told.doors(), rows={name: rows for name, (rows, _) in found.items()},
        hash=output_hash(found), live_hash=live_hash, differs=differs, seconds=round(seconds, 3),
    )  # fmt: skip


def _live(
    database: Database, live: str, log_id: str, chosen: Sequence[Span], found: dict[str, tuple[int, str]]
) -> dict[str, tuple[int, str]]:
    """Digests of the live rows, once live has stored as many as the replay, or is not going to."""
    deadline = time.monotonic() + LIVE_WITHIN_S
    while True:
        lived = digests(database, live, log_id, chosen)
        if lived == found or time.monotonic() > deadline or any(lived[name][0] > found[name][0] for name in found):
            return lived
        time.sleep(1.0)


def stretch(kafka: Kafka, held: dict[int, tuple[int, int]], options: ReplayOptions) -> list[Span]:
    """The spans that `--from` and `--to` mean, within what the broker holds; `InputError` where it does not hold them."""
    firsts = _offsets(kafka, held, options.first, {p: low for p, (low, _) in held.items()}, "--from")
    ends = _offsets(kafka, held, options.end, {p: high for p, (_, high) in held.items()}, "--to")
    chosen = [Span(p, firsts[p], ends[p]) for p in sorted(firsts.keys() & ends.keys())]
    for span in chosen:
        low, high = held[span.partition]
        if not low <= span.first <= span.end <= high:
            raise InputError(
                f"partition {span.partition}: expected a stretch within offsets {low} to {high}, which the broker holds, "
                f"found {span.first} to {span.end}"
            )
    if not chosen:
        raise InputError("--from and --to name no partition in common")
    return chosen


def _offsets(
    kafka: Kafka, held: dict[int, tuple[int, int]], asked: Bound, otherwise: dict[int, int], option: str
) -> dict[int, int]:
    if asked.everywhere is not None:
        return {p: min(max(asked.everywhere, low), high) for p, (low, high) in held.items()}
    if asked.by_partition is not None:
        if strange := asked.by_partition.keys() - held.keys():
            raise InputError(f"{option}: the log has partitions 0 to {max(held)}, not {sorted(strange)}")
        return dict(asked.by_partition)
    if asked.at_ms is not None:
        return _offsets_at(kafka, held, asked.at_ms)
    return otherwise


def _offsets_at(kafka: Kafka, held: dict[int, tuple[int, int]], at_ms: int) -> dict[int, int]:
    """First offset of each partition whose record the broker got at this time or later; the end where there is none."""
    found = offsets_at(kafka, at_ms)
    return {p: high if (at := found[p]) is None else min(max(at, low), high) for p, (low, high) in held.items()}
