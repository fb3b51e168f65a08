"""The scoring process: puts the dataflow together and runs it until it is told to stop."""

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import redis
import structlog
from bytewax._bytewax import run_main
from bytewax.recovery import RecoveryConfig

from infra.clickhouse import connect
from infra.clock import WallClock
from infra.composition import ShardMaker, load_model, rules, sessions, step_name
from infra.kafka import topic_id
from infra.kafka_log import KafkaLog, end_offsets
from infra.kafka_writer import KafkaWriter
from infra.redis import LatestStore
from infra.settings import Settings
from infra.start import Computation, Started, Wanted, start, stoppable
from infra.tables import ClickHouseTables, create_tables
from infra.telemetry import Telemetry
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.errors import LogError
from schemas.rows import SCORE_STATUS_KEY
from schemas.tables import tables
from streams.blocks import BlockBuffer
from streams.bytewax_io import EventSource, LatestSink, TableSink, TopicSink
from streams.flow import Sinks, build
from streams.messages import MessageMaker
from streams.newest import NewestRows
from streams.report import Report
from streams.rows import RowMaker

STATUS_EVERY_S = 1.0
STATUS_TTL_S = 5
NO_MODEL = "none"


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
    log = KafkaLog(settings.kafka, log_identity(settings), partitions or tuple(range(settings.kafka.partitions)))
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    with only_one(settings.data / "recovery", group):
        scoring = _Scoring(settings, log, telemetry, group)
        started = start(scoring.computation(), lambda: end_offsets(settings.kafka), stoppable(wanted, stop))
        if not wanted.live:
            return
        reporting = threading.Thread(target=scoring.tell, args=(stop,), daemon=True)
        reporting.start()
        try:
            run_main(  # type: ignore[no-untyped-call]
                scoring.flow(stop, started),
                epoch_interval=settings.fold.epoch,
                recovery_config=RecoveryConfig(str(started.path), backup_interval=timedelta(0)),
            )
        finally:
            stop.set()
            reporting.join(timeout=5)


def log_identity(settings: Settings) -> str:
    """Which log this is: as the supervisor of an embedded broker says, else Kafka's own id of the topic."""
    return settings.kafka.log_id or topic_id(settings.kafka)


@contextmanager
def only_one(directory: Path, group: str) -> Iterator[None]:
    """One writer a group: a second process refuses to start."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / f"{group}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LogError(
                f"{lock.name} is held by another scoring process: two writers of one partition would race; "
                "stop the other one, or give this one other partitions and another --group"
            ) from error
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class _Scoring:
    def __init__(self, settings: Settings, log: KafkaLog, telemetry: Telemetry, group: str) -> None:
        self.settings, self.log, self.telemetry, self.group = settings, log, telemetry, group
        self.clock = WallClock()
        self.fold_rules = rules(settings.fold)
        self.onnx = load_model(settings)
        self.step = step_name(self.fold_rules)
        self.make = ShardMaker(self.fold_rules, sessions(settings.fold), self.onnx)
        onnx_id = self.onnx.id if self.onnx else NO_MODEL
        kinds = [kind.name for kind in self.fold_rules.bars]
        common = (log.log_id, FEATURE_NAMES, FEATURES_ID, settings.fold.champion)
        self.messages = MessageMaker(*common, kinds, self.fold_rules.label.horizon_ns)
        self.rows = RowMaker(*common, onnx_id, kinds, self.fold_rules.label.horizon_ns)
        self.redis = settings.redis.url.get_secret_value()
        self.report = Report(
            group, log.log_id, log.partitions, {"online": self.make(0).learner.id, "onnx": onnx_id},
            self.onnx.provider if self.onnx else "", FEATURES_ID, telemetry, self.clock,
        )  # fmt: skip
        structlog.get_logger().info(
            "scoring", log_id=log.log_id, partitions=list(log.partitions), onnx=onnx_id, provider=self.report.provider,
            features_id=FEATURES_ID, step=self.step,
        )  # fmt: skip

    def computation(self) -> Computation:
        """What this process folds, for whoever rebuilds its state."""
        return Computation(
            self.settings, self.log, self.group, self.step, self.make, self.rows, self.messages, self.telemetry
        )

    def flow(self, stop: threading.Event, started: Started):  # type: ignore[no-untyped-def]
        """The dataflow over real services."""
        clickhouse = self.settings.clickhouse
        database = connect(
            clickhouse.url.get_secret_value(),
            timeout_s=clickhouse.timeout.total_seconds(),
            compression=clickhouse.compression,
        )
        create_tables(database, clickhouse.database, FEATURE_NAMES)
        store = ClickHouseTables(database, clickhouse.database, self.log.log_id)
        names = [table.name for table in tables(FEATURE_NAMES)]
        buffer = BlockBuffer(store, self.rows, names, self.telemetry)
        ttl_s = self.settings.redis.ttl.total_seconds()
        newest = NewestRows(LatestStore(self.redis, ttl_s=ttl_s, timeout_s=1, group=self.group), self.telemetry)
        newest.remember(self.log.log_id, self.log.partitions)
        partitions = list(self.log.partitions)
        sinks = Sinks(
            TopicSink(partitions, KafkaWriter(self.settings.kafka), self.messages, self.telemetry),
            LatestSink(partitions, newest, self.messages, self.report.note, self.telemetry),
            TableSink(partitions, buffer),
        )
        source = EventSource(started.log, self.clock, stop.is_set, newest.tend, self.telemetry)
        return build(source, started.make, sinks, self.step, self.telemetry)

    def tell(self, stop: threading.Event) -> None:
        """Write the status until told to stop; readiness sees its absence when Redis cannot be reached."""
        import msgspec  # noqa: PLC0415

        client = redis.Redis.from_url(self.redis, socket_timeout=2)
        key = SCORE_STATUS_KEY.format(group=self.group)
        while not stop.wait(STATUS_EVERY_S):
            status = self.report.status({p: reader.lag() for p, reader in list(self.log.readers.items())})
            try:
                client.set(key, msgspec.json.encode(status), ex=STATUS_TTL_S)
            except redis.RedisError as error:
                structlog.get_logger().warning("status not written", reason=str(error))
