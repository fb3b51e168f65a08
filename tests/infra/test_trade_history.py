"""Revisions over the embedded ClickHouse: the real flow, killed now and then, and what the views make of its rows."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import stamina
from bytewax._bytewax import run_main
from bytewax.recovery import RecoveryConfig, init_db_dir

from api.listings import BY_NAME, Stretch
from infra.clickhouse import Database, Result, connect
from infra.embedded.services import Embedded
from infra.history import ClickHouseHistory
from infra.tables import ClickHouseTables, create_tables
from infra.trade_history import ClickHouseTradeHistory
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.shard import FoldRules, Shard
from processors.snapshot import decode_snapshot
from schemas.errors import DatabaseUnavailable
from schemas.events import Cancel, Correction, Event, Trade
from schemas.tables import tables
from schemas.topics import EVENTS
from streams.blocks import BlockBuffer
from streams.bytewax_io import EventSource, LatestSink, TableSink, TopicSink
from streams.flow import Sinks, build
from streams.messages import MessageMaker
from streams.newest import NewestRows
from streams.revisions import Reviser
from tests.disturbed import Session, disturb, session
from tests.fakes import CountingLearner, DictLatest, ListLog, ListWriter, NoMeter, SteppingClock
from tests.logs import START
from tests.streams.stored_trades import KINDS, LOG, row_maker
from tests.streams.test_revisions import bars, newest

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(280)]
RULES = FoldRules()
EPOCH = timedelta(milliseconds=50)
DAY: Session = disturb(session(2500, 21, seconds=600), 22, fixes=0.01)
BAR_COLUMNS = (
    "symbol", "kind", "start", "end", "open", "high", "low", "close", "volume", "value", "n_trades", "rev", "reason",
    "late_n", "gap_ms", "partial", "src_offset",
)  # fmt: skip


def make(partition: int, snapshot: bytes | None = None) -> Shard:
    learner = CountingLearner.restored(decode_snapshot(snapshot).learner) if snapshot else CountingLearner()
    shard = Shard(partition, learner, None)
    if snapshot:
        shard.restore(snapshot)
    return shard


@dataclass
class Stored:
    """A database of its own, filled by the flow."""

    database: Database
    name: str
    log: ListLog

    def fold(self, recovery: Path, stop: Callable[[], bool]) -> None:
        """One process: until it is told to stop; what it remembers is little, so that it has to ask."""
        common = (LOG, FEATURE_NAMES, FEATURES_ID, KINDS)
        messages, meter, newest_rows = MessageMaker(*common), NoMeter(), NewestRows(DictLatest(), NoMeter())
        store = ClickHouseTables(self.database, self.name, LOG)
        buffer = BlockBuffer(store, row_maker(), [table.name for table in tables(FEATURE_NAMES)], meter)
        history = ClickHouseTradeHistory(self.database, self.name, LOG)
        sinks = Sinks(
            TopicSink(self.log.partitions, ListWriter(), messages, meter),
            LatestSink(self.log.partitions, newest_rows, messages, lambda _: None, meter),
            TableSink(self.log.partitions, buffer),
        )
        source = EventSource(self.log, SteppingClock(), stop, newest_rows.tend, meter)
        flow = build(
            source, make, sinks, "test", meter, Reviser(RULES.bars, history, buffer.stored, meter, most_kept=50)
        )
        run_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(recovery), timedelta(0)))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.database.rows(sql).rows


def after_polls(n: int) -> Callable[[], bool]:
    polls = 0

    def stop() -> bool:
        nonlocal polls
        polls += 1
        return polls > n

    return stop


def when_read(log: ListLog) -> Callable[[], bool]:
    idle_since = 0.0

    def stop() -> bool:
        nonlocal idle_since
        if any(reader.lag() for reader in log.readers.values()):
            return False
        idle_since = idle_since or monotonic()
        return monotonic() - idle_since > 10 * EPOCH.total_seconds()

    return stop


@pytest.fixture(scope="module")
def stored(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """The bad day, folded by five processes one after the other."""
    name = f"revisions_{uuid.uuid4().hex[:8]}"
    database = connect(embedded.clickhouse_url)
    create_tables(database, name, FEATURE_NAMES)
    log = ListLog({0: [EVENTS.encode(event) for event in DAY.arrived]}, per_poll=150, log_id=LOG)
    made, recovery = Stored(database, name, log), tmp_path_factory.mktemp("recovery") / "r"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    for polls in (4, 7, 9, 6):
        made.fold(recovery, after_polls(polls))
    made.fold(recovery, when_read(log))
    yield made
    database.command(f"DROP DATABASE `{name}`")
    database.close()


def test_every_revision_is_stored_and_is_the_one_that_a_process_with_all_in_memory_issues(stored: Stored) -> None:
    found = stored.rows(
        f"SELECT `{'`, `'.join(BAR_COLUMNS)}` FROM `{stored.name}`.bars ORDER BY src_offset, symbol, kind, start, rev"
    )
    expected = [tuple(row[name] for name in BAR_COLUMNS) for row in bars(DAY.arrived)]
    assert found == sorted(expected, key=lambda row: (row[-1], row[0], row[1], row[2], row[11]))
    assert {row[12] for row in found} == {"closed", "late", "correct", "cancel"}


def test_the_newest_bars_are_those_of_a_perfect_day(stored: Stored) -> None:
    found = stored.rows(
        f"SELECT symbol, kind, start, [open, high, low, close, volume, value], n_trades, `end` FROM `{stored.name}`.bars_latest "
        "WHERE kind IN ('1s', '1m', '5m')"
    )
    perfect = newest(bars(DAY.ordered))
    assert {row[:3]: (np.array(row[3]).tobytes(), row[4], row[5]) for row in found} == perfect


def test_what_was_known_at_a_moment_is_what_had_been_stored_by_then(stored: Stored) -> None:
    for share in (0.1, 0.5, 0.9):
        offset = int(share * len(DAY.arrived))
        at = START // 1_000_000 + 10 * offset
        ((moment,),) = stored.rows(f"SELECT toString(fromUnixTimestamp64Milli(toInt64({at}), 'UTC'))")
        found = stored.rows(
            f"SELECT symbol, kind, start, rev FROM `{stored.name}`.bars_as_known(at = '{moment}') ORDER BY 1, 2, 3"
        )
        told = bars(DAY.arrived[: offset + 1])
        last = {
            (r["symbol"], r["kind"], r["start"]): r for r in sorted(told, key=lambda r: (r["rev"], r["src_offset"]))
        }
        time_kinds = sorted(
            (*key, r["rev"]) for key, r in last.items() if r["n_trades"] > 0 and key[1] in {"1s", "1m", "5m"}
        )
        assert [row for row in found if row[1] in {"1s", "1m", "5m"}] == time_kinds


def _as_corrected(events: list[Event]) -> dict[tuple[str, int], tuple[float, float, str]]:
    """(symbol, number) → price, size, status; the oracle walks the log."""
    trades = {(e.symbol, e.seq): e for e in events if isinstance(e, Trade)}
    status = {key: (each.price, each.size, "") for key, each in trades.items()}
    for event in events:
        if isinstance(event, Cancel) and (event.symbol, event.refers_seq) in trades:
            each = trades[event.symbol, event.refers_seq]
            status[event.symbol, event.refers_seq] = (each.price, each.size, "cancelled")
        elif isinstance(event, Correction) and (event.symbol, event.refers_seq) in trades:
            status[event.symbol, event.refers_seq] = (event.price, event.size, "corrected")
    return status


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_every_trade_is_marked_with_the_last_word_on_it(stored: Stored, share: float) -> None:
    offset = int(share * len(DAY.arrived)) - 1
    at = START // 1_000_000 + 10 * offset
    ((moment,),) = stored.rows(f"SELECT toString(fromUnixTimestamp64Milli(toInt64({at}), 'UTC'))")
    view = "trades_corrected" if share == 1.0 else f"trades_as_known(at = '{moment}')"
    found = stored.rows(f"SELECT symbol, seq, price, size, status FROM `{stored.name}`.{view}")
    assert {row[:2]: row[2:] for row in found} == _as_corrected(DAY.arrived[: offset + 1])
    assert {row[4] for row in found} == {"", "corrected", "cancelled"}


def test_a_changed_view_reaches_a_database_that_is_there(stored: Stored) -> None:
    stored.database.command(f"CREATE OR REPLACE VIEW `{stored.name}`.bars_latest AS SELECT 1 AS one")
    create_tables(stored.database, stored.name, FEATURE_NAMES)
    assert stored.rows(f"SELECT count() > 100 FROM `{stored.name}`.bars_latest") == [(True,)]


def test_the_api_reads_the_newest_bars_and_none_without_a_trade(stored: Stored) -> None:
    perfect = newest(bars(DAY.ordered))
    history = ClickHouseHistory(stored.database, stored.name)
    for kind in ("1s", "1m"):
        names, read = history.rows(BY_NAME["bars"], "S1", Stretch(0, 2**62, 10_000, equal={"kind": kind}))
        assert [row[names.index("start")] for row in read] == sorted(
            start for symbol, of, start in perfect if (symbol, of) == ("S1", kind)
        )


def test_a_backfill_asks_for_more_than_one_query_may_say(stored: Stored) -> None:
    history, count = ClickHouseTradeHistory(stored.database, stored.name, LOG), 20_000
    known = stored.rows(f"SELECT DISTINCT start FROM `{stored.name}`.bars WHERE symbol = 'S1' AND kind = '1s'")
    starts = sorted({start for (start,) in known} | {START - each * 10**9 for each in range(1, count)})
    found = history.issued(0, 2**40, ["S1"], [(0, "1s", start) for start in starts])
    assert sorted(int(line["start"]) for line in found) == sorted(start for (start,) in known)
    ((numbers,),) = stored.rows(f"SELECT count() FROM `{stored.name}`.trades WHERE symbol = 'S1' AND in_bars")
    assert len(history.numbered(0, 2**40, ["S1"], [(0, seq) for seq in range(2 * count)])) == numbers > 100


@dataclass
class Away:
    """A database that does not answer the first time, and then has nothing."""

    asked: int = 0

    def rows(self, sql: str, parameters: Any = None) -> Result:
        self.asked += 1
        if self.asked == 1:
            raise DatabaseUnavailable("nobody there")
        return Result([], [], [])


def test_a_database_that_is_away_is_asked_again() -> None:
    away = Away()
    with stamina.set_testing(True, attempts=3):
        found = ClickHouseTradeHistory(away, "market", LOG).numbered(0, 10, ["A"], [(0, 1)])  # type: ignore[arg-type]
    assert (len(found), away.asked) == (0, 2)
