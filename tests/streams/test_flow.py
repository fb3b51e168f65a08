from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import monotonic

import numpy as np
from bytewax._bytewax import run_main
from bytewax.recovery import RecoveryConfig, init_db_dir

from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.ledger import DOORS
from processors.shard import FoldRules, Shard
from processors.snapshot import decode_snapshot
from schemas.events import Event, Trade
from schemas.tables import tables
from schemas.topics import BARS, DEAD_LETTERS, EVENTS, OUTCOMES, PREDICTIONS
from streams.blocks import BlockBuffer
from streams.bytewax_io import EventSource, LatestSink, TableSink, TopicSink
from streams.flow import Sinks, build
from streams.messages import MessageMaker
from streams.newest import NewestRows
from streams.report import Report
from streams.rows import RowMaker
from tests.fakes import (
    ConstantModel,
    CountingLearner,
    DictLatest,
    ListLog,
    ListStore,
    ListWriter,
    NoMeter,
    SteppingClock,
)
from tests.logs import market

KINDS = [kind.name for kind in FoldRules().bars]
EPOCH = timedelta(milliseconds=20)


def make(partition: int, snapshot: bytes | None = None) -> Shard:
    learner = CountingLearner.restored(decode_snapshot(snapshot).learner) if snapshot else CountingLearner()
    shard = Shard(partition, learner, ConstantModel())
    if snapshot:
        shard.restore(snapshot)
    return shard


class Run:
    """The flow over lists, until both partitions are read to their ends."""

    def __init__(self, log: ListLog, store: ListStore | None = None) -> None:
        self.store, self.writer, self.latest = store or ListStore(), ListWriter(), DictLatest()
        self.log, self.clock, self.idle_since = log, SteppingClock(), 0.0
        self.make = make
        messages = MessageMaker(log.log_id, FEATURE_NAMES, FEATURES_ID, KINDS)
        rows = RowMaker(log.log_id, FEATURE_NAMES, FEATURES_ID, KINDS)
        self.report = Report("0", log.log_id, log.partitions, {}, "", FEATURES_ID, NoMeter(), self.clock)
        self.newest = NewestRows(self.latest, NoMeter())
        self.sinks = Sinks(
            TopicSink(log.partitions, self.writer, messages, NoMeter()),
            LatestSink(log.partitions, self.newest, messages, self.report.note, NoMeter()),
            TableSink(
                log.partitions,
                BlockBuffer(self.store, rows, [table.name for table in tables(FEATURE_NAMES)], NoMeter()),
            ),
        )

    def _stored(self) -> bool:
        """Several epochs have passed since the last record of the last partition was read."""
        if any(reader.lag() > 0 for reader in self.log.readers.values()):
            return False
        self.idle_since = self.idle_since or monotonic()
        return monotonic() - self.idle_since > 10 * EPOCH.total_seconds()

    def go(self, recovery: Path, stop: Callable[[], bool] | None = None) -> "Run":
        if not recovery.exists():
            recovery.mkdir()
            init_db_dir(recovery, 1)
        source = EventSource(self.log, self.clock, stop or self._stored, self.newest.tend, NoMeter())
        flow = build(source, self.make, self.sinks, "test", NoMeter())
        run_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(recovery)))
        return self


def records(n: int = 3000) -> list[bytes | None]:
    return [EVENTS.encode(event) for event in market(n)]


def test_every_message_leaves_by_one_door_and_every_row_has_its_place(tmp_path: Path) -> None:
    log = ListLog({0: records(), 1: records(1500)})
    run = Run(log).go(tmp_path / "r")
    counts = dict(zip(DOORS, np.sum([run.report.counts[0], run.report.counts[1]], axis=0).tolist(), strict=True))
    assert sum(counts.values()) == 4500
    assert len(run.store.column("features", "src_offset")) == counts["folded"]
    assert len(run.store.column("predictions", "src_offset")) == counts["folded"] == len(run.writer.of(PREDICTIONS))
    assert len(run.store.column("dead_letters", "src_offset")) == counts["rejected"] == len(run.writer.of(DEAD_LETTERS))
    assert len(run.store.column("bars", "src_offset")) == len(run.writer.of(BARS)) > 100
    assert len(run.store.column("outcomes", "src_offset")) == len(run.writer.of(OUTCOMES)) > 20
    late = np.count_nonzero(run.store.column("trades", "late"))
    assert late == counts["late"] > 0


def test_the_newest_row_of_every_symbol_is_kept(tmp_path: Path) -> None:
    run = Run(ListLog({0: records(800)})).go(tmp_path / "r")
    newest = {row.symbol: row for row in run.writer.of(PREDICTIONS)}
    assert {s: row.src_offset for s, row in run.latest.kept.items()} == {s: row.src_offset for s, row in newest.items()}


def test_a_flow_that_starts_again_stores_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    whole = Run(ListLog({0: records()})).go(tmp_path / "whole").store
    log, store, polls = ListLog({0: records()}), ListStore(), 0

    def stop_after(n: int) -> Callable[[], bool]:
        def stop() -> bool:
            nonlocal polls
            polls += 1
            return polls > n

        return stop

    for n in (3, 11, 12, 29):
        polls = 0
        Run(log, store).go(tmp_path / "r", stop_after(n))
    Run(log, store).go(tmp_path / "r")
    for table, column in [
        ("features", "vwap_dev_10s"),
        ("predictions", "online"),
        ("bars", "close"),
        ("outcomes", "label"),
        ("trades", "price"),
    ]:
        assert store.column(table, "src_offset") == whole.column(table, "src_offset"), table
        assert np.array(store.column(table, column)).tobytes() == np.array(whole.column(table, column)).tobytes(), table


def test_rows_that_a_predecessor_had_stored_are_skipped(tmp_path: Path) -> None:
    store = ListStore(stored={("trades", 0): 500, ("features", 0): 700})
    Run(ListLog({0: records(1000)}), store).go(tmp_path / "r")
    assert min(store.column("trades", "src_offset")) > 500
    assert min(store.column("features", "src_offset")) > 700
    assert min(store.column("predictions", "src_offset")) < 20


def test_bad_records_become_dead_letters_with_their_reasons_and_the_flow_goes_on(tmp_path: Path) -> None:
    good: Event = Trade(symbol="A", venue="X", seq=1, ts_event=10, ts_ingest=11, price=2.0, size=3.0)
    raw = EVENTS.encode(good)
    bad: list[tuple[bytes | None, str]] = [
        (b"\xff\xfe", "undecodable"),
        (b"{", "undecodable"),
        (b"", "undecodable"),
        (b"\x00\x00\x00\x00\x07abc", "undecodable"),
        (b"[" * 60_000, "invalid_value"),
        (None, "not_a_message"),
        (raw.replace(b"2.0", b'"2.0"'), "invalid_value"),
        (raw.replace(b"2.0", b"NaN"), "undecodable"),
        (raw.replace(b"2.0", b"1e400"), "invalid_value"),
        (raw.replace(b"2.0", b"0"), "invalid_value"),
        (raw.replace(b"2.0", b"-2.0"), "invalid_value"),
        (raw.replace(b'"ts_event":10', b'"ts_event":99999999999999999999'), "invalid_value"),
        (raw.replace(b'"ts_event":10', b'"ts_event":9000000000'), "future"),
        (raw.replace(b'"trade"', b'"trade2"'), "unknown_type"),
        (raw.replace(b'"type":"trade",', b""), "unknown_type"),
        (raw[:-1] + b',"pad":"' + b"x" * 10_000_000 + b'"}', "too_large"),
        (
            b'{"type":"quote","symbol":"A","venue":"X","seq":1,"ts_event":10,"ts_ingest":10,'
            b'"bid":2,"bid_size":1,"ask":1,"ask_size":1}',
            "crossed_quote",
        ),
    ]  # fmt: skip
    run = Run(
        ListLog(
            {
                0: [
                    raw,
                    *(value for value, _ in bad),
                    EVENTS.encode(Trade(symbol="A", venue="X", seq=2, ts_event=12, ts_ingest=12, price=2.0, size=1.0)),
                ]
            }
        )
    )
    run.go(tmp_path / "r")
    letters = run.writer.of(DEAD_LETTERS)
    assert [letter.reason for letter in letters] == [reason for _, reason in bad]
    assert [letter.offset for letter in letters] == list(range(1, 1 + len(bad)))
    assert all(letter.detail for letter in letters)
    assert run.store.column("trades", "src_offset") == [0, len(bad) + 1]
    assert max(len(letter.raw) for letter in letters) == 65_536


def test_scores_that_are_not_finite_are_not_published(tmp_path: Path) -> None:
    run = Run(ListLog({0: records(50)}))
    run.make = lambda partition, snapshot: Shard(partition, CountingLearner(), ConstantModel(float("nan")))
    run.go(tmp_path / "r")
    rows = run.writer.of(PREDICTIONS)
    assert all(row.onnx is None for row in rows)
    assert all(row.p_up == row.online for row in rows)
