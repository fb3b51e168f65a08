"""The scoring process: puts the dataflow together and runs it until it is told to stop."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib import import_module

import redis
import structlog
from bytewax._bytewax import run_main
from bytewax.recovery import RecoveryConfig

from infra.allocator import settled
from infra.audit import Auditor
from infra.carried import Carried
from infra.clickhouse import connect
from infra.clock import WallClock
from infra.clock_watch import ClockWatch
from infra.composition import ShardMaker, calendars, load_model, rules, sessions, step_name
from infra.drained import Drained
from infra.draining import drain
from infra.kafka_log import KafkaLog
from infra.kafka_writer import KafkaWriter
from infra.log_identity import LogIdentity, all_logs, reader_of, spans
from infra.log_records import LogRecords, adopt
from infra.log_watch import LogWatch
from infra.models.changes import write_change
from infra.models.triton_shadow import live_model, remembered
from infra.models.watch import ModelWatch
from infra.recovery import naming_failures, request_path
from infra.redis import LatestStore
from infra.settings import Settings
from infra.start import Computation, Started, Wanted, database_of, start, stoppable
from infra.stopping import Stop, ending
from infra.tables import ClickHouseTables
from infra.telemetry import Telemetry
from infra.trade_history import ClickHouseTradeHistory
from infra.writers import Lease
from infra.writing import writing
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.scores import NO_MODEL
from processors.shard import ShardOutput
from schemas.control import ModelChange
from schemas.rows import SCORE_STATUS_KEY
from schemas.tables import tables
from streams.audit import Notes
from streams.blocks import BlockBuffer
from streams.bytewax_io import EventSource, LatestSink, TableSink, TopicSink
from streams.flow import Sinks, build
from streams.messages import MessageMaker
from streams.newest import NewestRows
from streams.report import Report
from streams.revisions import Reviser
from streams.rows import RowMaker

STATUS_EVERY_S = 1.0
STATUS_TTL_S = 5
LEARNING = "models.learning"
"""Imports River, which takes a second: while the flow goes on, and before the first step has to wait for it."""


def run(
    settings: Settings,
    partitions: tuple[int, ...] | None = None,
    *,
    telemetry: Telemetry | None = None,
    group: str = "0",
    wanted: Wanted | None = None,
) -> None:
    """Score until SIGTERM or SIGINT; what is in flight is committed or will be replayed. `wanted`: how to start."""
    telemetry, wanted = telemetry or Telemetry(), wanted or Wanted()
    chosen = partitions or tuple(range(settings.kafka.partitions))
    stop = Stop()
    stop.on_signals()
    with ending(stop), writing(settings, chosen, group, stop, telemetry) as lease:
        if wanted.new_log:
            adopt(settings)
        logs, known = confirmed_logs(settings, telemetry)
        asked = wanted.rebuild or request_path(settings.data, group).exists()
        end = partial(stop.ask, 1)

        def rest(reader: KafkaLog, log: LogIdentity, wanted: Wanted) -> None:
            _go(_Scoring(settings, reader, telemetry, group, lease), log, stop, wanted)

        with ClockWatch(end) as clock:
            if wanted.live and not drain(settings, logs[:-1], chosen, rest, stop):
                clock.complain()
                return
            _tell_lost(settings, logs, telemetry)
            lease.of_log(logs[-1].log_id)
            _carry_over(settings, logs[-1], [partition for partition in chosen if partition not in known])
            scoring = _Scoring(settings, reader_of(settings.kafka, logs[-1], chosen, known), telemetry, group, lease)
            with LogWatch(settings.kafka, logs[-1], end) as watch:
                tidy = partial(Drained(settings.data / "recovery").tidy, group, logs, scoring.step)
                _go(scoring, logs[-1], stop, replace(wanted, rebuild=asked), tidy)
        watch.complain()
        clock.complain()


def _tell_lost(settings: Settings, logs: Sequence[LogIdentity], telemetry: Telemetry) -> None:
    """What crashes took, and what passed out of retention before it was folded."""
    passed = Drained(settings.data / "recovery").lost(logs)
    telemetry.gauge("tickwire_log_lost_records", passed + sum(sum(log.lost.values()) for log in logs))


def _carry_over(settings: Settings, log: LogIdentity, partitions: Sequence[int]) -> None:
    """Rules and models that stood on the logs before, onto partitions of which nothing was folded yet."""
    name = settings.clickhouse.database
    with database_of(settings) as database:
        before = LogRecords(database, name, settings.data / "recovery").before(log)
        if before and partitions:
            Carried(database, name, before, settings.fold.champion).say(
                KafkaWriter(settings.kafka), partitions, WallClock()
            )


def _learning() -> None:
    """What is imported beside the flow; it is the last that stays."""
    import_module(LEARNING)
    settled()


def _go(
    scoring: "_Scoring", log: LogIdentity, stop: Stop, wanted: Wanted, whole: Callable[[], object] = lambda: None
) -> None:
    """Run the flow until it is told to stop or its log, a closed one, has been folded to its end.

    Whatever it ends of, nothing is stored afterwards.
    whole: called once the state that the flow goes on from is there and was noted.
    """
    kafka = scoring.settings.kafka
    started = start(scoring.computation(), lambda: spans(kafka, log), stoppable(wanted, stop))
    if not wanted.live:
        return
    whole()
    over = threading.Event()
    reporting = threading.Thread(target=scoring.tell, args=(over,), daemon=True)
    reporting.start()
    try:
        flow = scoring.flow(stop, started)
        threading.Thread(target=scoring.auditor.run, args=(over,), name="audit", daemon=True).start()
        watching = (over, scoring.lag, lambda: scoring.report.challengers, scoring.change_models)
        threading.Thread(target=scoring.watch.run, args=watching, name="models", daemon=True).start()
        threading.Thread(target=_learning, name="learning", daemon=True).start()
        with naming_failures(started.path):
            run_main(  # type: ignore[no-untyped-call]
                flow,
                epoch_interval=scoring.settings.fold.epoch,
                recovery_config=RecoveryConfig(str(started.path), backup_interval=timedelta(0)),
            )
    finally:
        over.set()
        scoring.close()
        reporting.join(timeout=5)


def confirmed_logs(settings: Settings, telemetry: Telemetry) -> tuple[Sequence[LogIdentity], Mapping[int, int]]:
    """The logs to fold, the last of which goes on, and how far our history holds that one; before anything is written.

    `LogError` where the broker's log is not the one that our history was written from.
    """
    logs = all_logs(settings.kafka)
    with database_of(settings) as database:
        records = LogRecords(database, settings.clickhouse.database, settings.data / "recovery")
        records.create()
        if settings.kafka.log_file is None:
            records.confirm(logs[-1])
        else:
            records.keep(logs)
        _tell_lost(settings, logs, telemetry)
        for log in logs[-2:-1]:
            structlog.get_logger().warning(
                "a crash closed the log before this one", log_id=log.log_id, lost=dict(log.lost),
                ends=dict(log.ends or {}),
            )  # fmt: skip
        names = [table.name for table in tables(FEATURE_NAMES)]
        return logs, records.reached(names, logs[-1], range(settings.kafka.partitions))


class _Scoring:
    def __init__(self, settings: Settings, log: KafkaLog, telemetry: Telemetry, group: str, lease: Lease) -> None:
        self.lease = lease
        self.settings, self.log, self.telemetry, self.group = settings, log, telemetry, group
        self.clock = WallClock()
        self.fold_rules = rules(settings.fold)
        self.onnx = load_model(settings)
        kept = sessions(settings.fold, calendars(settings))
        self.step = step_name(self.fold_rules, kept)
        self.watch = ModelWatch(settings.models, telemetry)
        self.make = ShardMaker(
            self.fold_rules, kept, self.watch.timed(self.onnx),
            load=remembered(lambda name: self.watch.timed(live_model(settings, name, self.watch.fault))),
        )  # fmt: skip
        onnx_id = self.onnx.id if self.onnx else NO_MODEL
        kinds = [kind.name for kind in self.fold_rules.bars]
        common = (log.log_id, FEATURE_NAMES, FEATURES_ID, kinds)
        self.messages, self.rows = MessageMaker(*common), RowMaker(*common)
        self.redis = settings.redis.url.get_secret_value()
        self.buffer: BlockBuffer | None = None
        self.notes = Notes()
        self.report = Report(
            group, log.log_id, log.partitions, {"online": self.make(0).learner.id, "onnx": onnx_id},
            self.onnx.provider if self.onnx else "", FEATURES_ID, telemetry, self.clock,
        )  # fmt: skip
        structlog.get_logger().info(
            "scoring", log_id=log.log_id, partitions=list(log.partitions), onnx=onnx_id, provider=self.report.provider,
            features_id=FEATURES_ID, step=self.step,
        )  # fmt: skip

    def noticed(self, output: ShardOutput) -> None:
        """What a stretch made, for the metrics, the log and the auditor."""
        self.report.note(output)
        self.notes.note(output)
        for each in output.changes:
            structlog.get_logger().warning(
                "models changed" if not each.refused else "change of models refused", partition=output.partition,
                offset=int(output.stretch.offsets[each.event]), action=each.change.action, model=each.change.model,
                by=each.change.by, why=each.change.why, refused=each.refused, champion=each.line_up.champion,
                onnx=each.line_up.onnx, challengers=list(filter(None, each.line_up.challengers)),
            )  # fmt: skip

    def change_models(self, change: ModelChange) -> None:
        """What the watch asks for, onto the log."""
        write_change(self.settings.kafka, change, self.clock)

    def computation(self) -> Computation:
        """What this process folds, for whoever rebuilds its state."""
        return Computation(
            self.settings, self.log, self.group, self.step, self.make, self.rows, self.messages, self.telemetry,
            self.lease,
        )  # fmt: skip

    def flow(self, stop: threading.Event, started: Started):  # type: ignore[no-untyped-def]
        """The dataflow over real services."""
        clickhouse = self.settings.clickhouse
        database = connect(
            clickhouse.url.get_secret_value(),
            timeout_s=clickhouse.timeout.total_seconds(),
            compression=clickhouse.compression,
        )
        store = ClickHouseTables(
            database, clickhouse.database, self.log.log_id, writer=self.lease, meter=self.telemetry,
            starts=self.log.starts,
        )  # fmt: skip
        names = [table.name for table in tables(FEATURE_NAMES)]
        self.buffer = buffer = BlockBuffer(store, self.rows, names, self.telemetry)
        self.auditor = Auditor(
            database, clickhouse.database, self.log.log_id, self.notes, buffer.stored, self.telemetry,
            self.settings.audit,
        )  # fmt: skip
        ttl_s = self.settings.redis.ttl.total_seconds()
        latest = LatestStore(self.redis, ttl_s=ttl_s, timeout_s=1, group=self.group, writer=self.lease)
        newest = NewestRows(latest, self.telemetry)
        newest.remember(self.log.log_id, self.log.partitions)
        partitions = list(self.log.partitions)
        sinks = Sinks(
            TopicSink(partitions, KafkaWriter(self.settings.kafka, self.lease.wait), self.messages, self.telemetry),
            LatestSink(partitions, newest, self.messages, self.noticed, self.telemetry),
            TableSink(partitions, buffer),
        )
        source = EventSource(started.log, self.clock, stop.is_set, newest.tend, self.telemetry)
        history = ClickHouseTradeHistory(database, clickhouse.database, self.log.log_id)
        revise = Reviser(self.fold_rules.bars, history, buffer.stored, self.telemetry)
        return build(source, started.make, sinks, self.step, self.telemetry, revise)

    def close(self) -> None:
        """Store nothing more, also where Bytewax did not come to close it."""
        if self.buffer is not None:
            self.buffer.close()

    def lag(self) -> dict[int, int]:
        """Partition to records that wait."""
        return {p: reader.lag() for p, reader in list(self.log.readers.items())}

    def tell(self, stop: threading.Event) -> None:
        """Write the status until told to stop; readiness sees its absence when Redis cannot be reached."""
        import msgspec  # noqa: PLC0415

        client = redis.Redis.from_url(self.redis, socket_timeout=2)
        key = SCORE_STATUS_KEY.format(group=self.group)
        while not stop.wait(STATUS_EVERY_S):
            status = self.report.status(self.lag())
            try:
                client.set(key, msgspec.json.encode(status), ex=STATUS_TTL_S)
            except redis.RedisError as error:
                structlog.get_logger().warning("status not written", reason=str(error))
