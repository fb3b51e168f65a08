"""Blocks on their way to ClickHouse: in an order that a high-water mark can tell of, and bounded while nobody takes them."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import streams.blocks
from processors.batch import NS
from processors.columns import LogStretch
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.shard import FoldRules, Shard
from schemas.errors import BackendError
from schemas.events import Trade
from schemas.rows import DeadLetter
from schemas.tables import tables
from streams.blocks import AT_ONCE, DAY_MS, FEW, MOST_ROWS, BlockBuffer, _by_day
from streams.rows import RowMaker
from tests.fakes import ConstantModel, CountingLearner, ListStore, NoMeter
from tests.logs import START
from tests.services.processes import until

TABLES = [table.name for table in tables(FEATURE_NAMES)]


def maker() -> RowMaker:
    rules = FoldRules()
    kinds = [kind.name for kind in rules.bars]
    return RowMaker("test-log", FEATURE_NAMES, FEATURES_ID, kinds)


@dataclass
class Stretches:
    """Outputs of consecutive stretches of partition 0."""

    shard: Shard = field(default_factory=lambda: Shard(0, CountingLearner(), ConstantModel()))
    at: int = 0

    def next(self, rows: int, ts_broker: int = START // 1_000_000) -> Any:
        offsets = np.arange(self.at, self.at + rows)
        self.at += rows
        times = [START + offset * NS // 1000 for offset in offsets.tolist()]
        trades = [
            Trade(symbol="A", venue="X", seq=1 + self.at - rows + i, ts_event=at, ts_ingest=at, price=10.0, size=1.0)
            for i, at in enumerate(times)
        ]
        return self.shard.advance(
            LogStretch(trades, [b"{}"] * rows, offsets, np.full(rows, ts_broker), [], np.empty(0, np.int64))
        )

    def rejected(self, raw: int) -> Any:
        letter = DeadLetter(
            source="market.events.v1", partition=0, offset=self.at, reason="undecodable", detail="", ts_ingest=START,
            raw=b"x" * raw,
        )  # fmt: skip
        self.at += 1
        nothing = np.empty(0, np.int64)
        return self.shard.advance(LogStretch([], [], nothing, nothing, [letter], np.full(1, START // 1_000_000)))


@dataclass
class Gate(ListStore):
    """A store that nobody gets into until it is opened."""

    gate: threading.Event = field(default_factory=threading.Event)
    failing: bool = False
    waiting: int = 0

    def insert(self, table: str, columns: Mapping[str, Any], token: str) -> None:
        self.waiting += 1
        self.gate.wait()
        if self.failing:
            raise BackendError("the disk is gone")
        super().insert(table, columns, token)

    def give_up(self) -> None:
        self.gate.set()


def test_what_is_surely_stored_grows_only_when_every_table_has_its_rows() -> None:
    store, log = Gate(), Stretches(at=100)
    buffer = BlockBuffer(store, maker(), TABLES, NoMeter())
    buffer.open(0)
    assert buffer.stored(0) == -1
    buffer.add(log.next(50))
    assert buffer.stored(0) == 99, "what lies before was committed by an epoch before"
    store.gate.set()
    buffer.flush()
    assert buffer.stored(0) == 149
    buffer.add(log.rejected(10))
    buffer.flush()
    assert buffer.stored(0) == 150
    buffer.close()


def test_nothing_is_surely_stored_where_an_insert_failed() -> None:
    store, log = Gate(failing=True), Stretches()
    buffer = BlockBuffer(store, maker(), TABLES, NoMeter())
    buffer.open(0)
    store.gate.set()
    buffer.add(log.next(50))
    with pytest.raises(BackendError, match="the disk is gone"):
        buffer.flush()
    assert buffer.stored(0) == -1


def test_what_is_closed_stores_what_is_on_its_way_and_nothing_more() -> None:
    store, log = Gate(), Stretches()
    buffer = BlockBuffer(store, maker(), TABLES, NoMeter())
    buffer.open(0)
    buffer.add(log.next(FEW))
    until("two inserts to be on their way", lambda: store.waiting == AT_ONCE, within_s=60)
    buffer.add(log.next(FEW))
    buffer.close()
    assert [len(columns["src_offset"]) for _, columns, _ in store.inserts] == [FEW, FEW]
    assert buffer.stored(0) == -1
    buffer.close()


def test_few_rows_of_a_table_wait_for_more_and_nothing_is_sure_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.blocks, "STORE_EVERY_S", 0.02)
    monkeypatch.setattr(streams.blocks, "FEW_EVERY_S", 3600.0)
    store, log = ListStore(), Stretches()
    buffer = BlockBuffer(store, maker(), TABLES, NoMeter())
    buffer.open(0)
    buffer.add(log.next(FEW))
    until("the trades to be stored", lambda: ("trades", 0) in store.stored, within_s=60)
    buffer.add(log.rejected(10))
    buffer.add(log.next(FEW))
    until("what came after it to be stored", lambda: store.stored["trades", 0] == 2 * FEW, within_s=60)
    assert ("dead_letters", 0) not in store.stored
    assert buffer.stored(0) == -1, "a dead letter is still on its way"
    monkeypatch.setattr(streams.blocks, "FEW_EVERY_S", 0.0)
    until("the dead letter to be stored", lambda: ("dead_letters", 0) in store.stored, within_s=60)
    until("everything to be sure", lambda: buffer.stored(0) == 2 * FEW, within_s=60)
    assert len(store.column("trades", "src_offset")) == 2 * FEW
    buffer.close()


@pytest.mark.parametrize("raw", [0, 60_000])
def test_while_the_store_takes_nothing_the_fold_waits_and_little_is_held(raw: int) -> None:
    store, log = Gate(), Stretches()
    buffer = BlockBuffer(store, maker(), TABLES, NoMeter())
    buffer.open(0)
    added = 0

    def fold() -> None:
        nonlocal added
        for _ in range(40 if raw == 0 else 4_000):
            output = log.rejected(raw) if raw else log.next(4096)
            buffer.add(output)
            added += 60 if raw else 4096

    folding = threading.Thread(target=fold, daemon=True)
    folding.start()
    most = 4 * MOST_ROWS + 2 * 4096  # what is being stored, and twice as much behind it
    until("the fold to fill what it may", lambda: added >= 2 * MOST_ROWS, within_s=60)
    held = [added]
    until("the fold to stand still", lambda: held.append(added) or held[-1] == held[-2], within_s=60, every_s=1.0)  # type: ignore[func-returns-value]
    assert added <= most
    assert folding.is_alive()
    store.gate.set()
    folding.join(60)
    buffer.flush()
    assert len(store.column("dead_letters" if raw else "trades", "src_offset")) == log.at
    buffer.close()


def test_around_midnight_every_block_is_one_day_and_behind_the_block_before_it() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        n = int(rng.integers(1, 60))
        partition = rng.integers(0, 3, n)
        offset = np.zeros(n, np.int64)
        for each in range(3):
            rows = partition == each
            offset[rows] = np.sort(rng.choice(1000, rows.sum(), replace=False))
        ts_broker = 20_000 * DAY_MS + rng.integers(-3, 4, n)
        block: Any = {"src_partition": partition, "src_offset": offset, "ts_broker": ts_broker}
        mark, seen = {0: -1, 1: -1, 2: -1}, []
        for made in _by_day(block):
            part = {name: np.asarray(column) for name, column in made.items()}
            assert len(np.unique(part["ts_broker"] // DAY_MS)) == 1
            for each in np.unique(part["src_partition"]).tolist():
                offsets = part["src_offset"][part["src_partition"] == each]
                assert offsets.min() > mark[each], "a process that dies here would leave a hole below the mark"
                mark[each] = int(offsets.max())
            seen += list(zip(part["src_partition"].tolist(), part["src_offset"].tolist(), strict=True))
        assert sorted(seen) == sorted(zip(partition.tolist(), offset.tolist(), strict=True))
