"""The scoring flow on a real broker, with what it says kept in lists."""

import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic

import numpy as np
from bytewax._bytewax import run_main
from bytewax.recovery import RecoveryConfig, init_db_dir
from confluent_kafka.admin import AdminClient

from infra.clock import WallClock
from infra.composition import ShardMaker
from infra.kafka import client_config, create_topics
from infra.kafka_log import KafkaLog, end_offsets
from infra.settings import Kafka
from models.onnx import OnnxModel
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.sessions import Sessions
from processors.shard import FoldRules
from schemas.tables import tables
from schemas.topics import TOPICS
from streams.blocks import BlockBuffer
from streams.bytewax_io import EventSource, LatestSink, TableSink, TopicSink
from streams.flow import Sinks, build
from streams.messages import MessageMaker
from streams.newest import NewestRows
from streams.no_history import NoHistory
from streams.report import Report
from streams.revisions import Reviser
from streams.rows import RowMaker
from tests.fakes import DictLatest, ListStore, ListWriter, NoMeter

EPOCH = timedelta(milliseconds=100)
GIVE_UP_S = 120.0


def fresh_topics(kafka: Kafka) -> None:
    """Throw all topics away and make them again."""
    admin = AdminClient(client_config(kafka))
    there = [topic.name for topic in TOPICS if topic.name in admin.list_topics(timeout=10).topics]
    for future in (admin.delete_topics(there, operation_timeout=30) if there else {}).values():
        future.result(30)
    deadline = monotonic() + 30
    while any(topic.name in admin.list_topics(timeout=10).topics for topic in TOPICS):
        assert monotonic() < deadline, "the broker did not delete its topics"
    create_topics(kafka)


@dataclass
class FlowRun:
    """The flow, from the first record to the present end of every partition."""

    kafka: Kafka
    onnx: OnnxModel | None = None
    rules: FoldRules = field(default_factory=FoldRules)
    sessions: Sessions = field(default_factory=Sessions)
    store: ListStore = field(default_factory=ListStore)
    writer: ListWriter = field(default_factory=ListWriter)

    def go(self) -> "FlowRun":
        log = KafkaLog(self.kafka, "test-log", list(range(self.kafka.partitions)))
        ends = {p: high for p, (_, high) in end_offsets(self.kafka).items()}
        kinds = [kind.name for kind in self.rules.bars]
        common = ("test-log", FEATURE_NAMES, FEATURES_ID, kinds)
        messages = MessageMaker(*common)
        rows = RowMaker(*common)
        self.report = Report("0", "test-log", log.partitions, {}, "", FEATURES_ID, NoMeter(), WallClock())
        partitions = list(log.partitions)
        buffer = BlockBuffer(self.store, rows, [table.name for table in tables(FEATURE_NAMES)], NoMeter())
        newest = NewestRows(DictLatest(), NoMeter())
        sinks = Sinks(
            TopicSink(partitions, self.writer, messages, NoMeter()),
            LatestSink(partitions, newest, messages, self.report.note, NoMeter()),
            TableSink(partitions, buffer),
        )
        revise = Reviser(self.rules.bars, NoHistory(), lambda _: -1, NoMeter())
        make = ShardMaker(self.rules, self.sessions, self.onnx)
        deadline, read_at = monotonic() + GIVE_UP_S, [0.0]

        def stop() -> bool:
            if all(log.readers[p].next_offset >= end for p, end in ends.items() if p in log.readers) and len(
                log.readers
            ) == len(ends):
                read_at[0] = read_at[0] or monotonic()
            return monotonic() > deadline or (read_at[0] > 0 and monotonic() - read_at[0] > 5 * EPOCH.total_seconds())

        with tempfile.TemporaryDirectory() as folder:
            recovery = Path(folder) / "recovery"
            recovery.mkdir()
            init_db_dir(recovery, 1)
            flow = build(
                EventSource(log, WallClock(), stop, newest.tend, NoMeter()), make, sinks, "test", NoMeter(), revise
            )
            run_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(recovery)))
        assert read_at[0] > 0, f"the flow did not reach {ends} within {GIVE_UP_S:.0f} s"
        return self

    def hash(self) -> str:
        """Of all feature and prediction rows, in the order of each partition's log."""
        told = sha256()
        for table, floats in (("features", FEATURE_NAMES), ("predictions", ("price", "p_up", "online", "onnx"))):
            symbol = np.array(self.store.column(table, "symbol"))
            where = [np.array(self.store.column(table, name)) for name in ("src_partition", "src_offset")]
            order = np.lexsort((where[1], where[0]))
            for column in (*where, np.array(self.store.column(table, "ts_event"))):
                told.update(np.ascontiguousarray(column[order]).tobytes())
            told.update("\n".join(symbol[order]).encode())
            for name in floats:
                values = np.array(self.store.column(table, name), np.float64)[order]
                told.update(np.where(np.isnan(values), np.nan, values).tobytes())
        return told.hexdigest()
