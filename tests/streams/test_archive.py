"""What is stored is enough: the log read back from its rows folds to the same bits, bars, outcomes and counts."""

import tracemalloc
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from processors.columns import LogStretch
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.ledger import DOORS
from processors.shard import FoldRules, Shard, ShardOutput
from schemas.events import EVENT_TYPES, Control, Event, NewsSignal, SessionMark, Trade
from schemas.rows import DeadLetter
from schemas.topics import EVENTS
from streams.archive import ARCHIVE, restored
from streams.decode import Poll, decode
from streams.recordings.detect import open_recording
from streams.recordings.timeline import merged, with_heartbeats
from streams.rows import RowMaker
from tests.fakes import ConstantModel, CountingLearner, ListStore
from tests.logs import START, market, stretch

KINDS = [kind.name for kind in FoldRules().bars]
COMPARED = {
    "features": ("src_offset", "symbol", "ts_event", *FEATURE_NAMES),
    "predictions": ("src_offset", "price", "p_up", "online", "onnx", "online_steps"),
    "bars": ("src_offset", "symbol", "start", "open", "high", "low", "close", "volume", "value", "n_trades", "late_n"),
    "outcomes": ("src_offset", "predicted_offset", "horizon_ns", "label", "void", "online", "price_matured"),
    "ledger": ("src_offset", "folded", "duplicate", "late", "rejected", "control", "features_hash", "first_offset"),
    "trades": ("src_offset", "seq", "price", "late", "conditions", "trade_id"),
    "dead_letters": ("src_offset", "reason", "detail", "raw", "ts_ingest"),
    "marks": ("src_offset", "kind", "repeats", "raw"),
    "corrections": ("src_offset", "kind", "refers_seq"),
}


class Folded:
    """A log that was folded, its rows, and what the shard remembers at its end."""

    def __init__(self, stretches: Sequence[LogStretch], rules: FoldRules | None = None) -> None:
        self.store = ListStore()
        rows = RowMaker("test-log", FEATURE_NAMES, FEATURES_ID, KINDS)
        self.shard = Shard(0, CountingLearner(), ConstantModel(), rules=rules)
        self.outputs: list[ShardOutput] = []
        for each in stretches:
            output = self.shard.advance(each)
            for table, block in rows.blocks(output).items():
                self.store.insert(table, block, "")

    def read_back(self, first: int, end: int, *, without: frozenset[int] = frozenset()) -> Any:
        """The stretch as the archive's tables tell it, in no particular order."""
        rng = np.random.default_rng(1)
        found = {}
        for table, names in ARCHIVE.items():
            columns = {name: plain(self.store.column(table, name)) for name in names}
            offsets = np.array(columns["src_offset"], np.int64)
            wanted = (offsets >= first) & (offsets < end) & ~np.isin(offsets, list(without))
            at = rng.permutation(np.flatnonzero(wanted)).tolist()
            found[table] = {name: [column[i] for i in at] for name, column in columns.items()}
        return restored(0, first, end, found)


def test_a_past_that_is_gone_takes_no_memory_for_what_is_missing() -> None:
    tracemalloc.start()
    found = restored(0, 0, 10**9, {})
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert found.missing == [(0, 10**9)]


def plain(values: list[Any]) -> list[Any]:
    """Python's own numbers, as a query gives them."""
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def bits(store: ListStore, table: str, column: str) -> Any:
    values = store.column(table, column)
    return np.array(values, np.float64).tobytes() if values and isinstance(values[0], float) else values


def assert_folds_alike(log: LogStretch, n: int, rules: FoldRules | None = None) -> Folded:
    once = Folded([log], rules)
    edges = [0, n // 3, n // 2, n]
    archived = [once.read_back(a, b) for a, b in pairwise(edges)]
    assert [part.missing for part in archived] == [[]] * 3
    again = Folded([part.stretch for part in archived], rules)
    whole = Folded([once.read_back(0, n).stretch], rules)
    assert whole.shard.snapshot() == once.shard.snapshot()  # where a prediction waits in its ring depends on the split
    for table, names in COMPARED.items():
        for name in names:
            assert bits(again.store, table, name) == bits(once.store, table, name), (table, name)
    return once


def broken(n: int) -> LogStretch:
    """A disturbed market with bytes that are no events in between."""
    values: list[bytes | None] = []
    for i, event in enumerate(market(n)):
        values.append(EVENTS.encode(event))
        if i % 97 == 0:
            values.append((b"\xff\xfe", None, b"{", b'{"type":"gap"}', b"x" * 70_000)[i // 97 % 5])
    return decode(Poll(0, values, list(range(len(values))), [START // 1_000_000 + 40 * i for i in range(len(values))]))


def test_a_disturbed_log_folds_alike_from_its_rows() -> None:
    log = broken(6000)
    once = assert_folds_alike(log, len(log.events) + len(log.rejected))
    counts = dict(zip(DOORS, once.shard.ledger.counts.tolist(), strict=True))
    assert min(counts.values()) > 50, counts
    assert set(once.store.column("marks", "kind")) == {"heartbeat", "session", "control", "duplicate"}
    assert {"crossed_quote", "future", "undecodable", "too_large", "not_a_message"} <= set(
        once.store.column("dead_letters", "reason")
    )


def test_symbols_and_venues_that_are_refused_are_refused_again() -> None:
    rules = FoldRules(max_symbols=3)
    events: list[Event] = [
        *market(900, symbols=5),
        Trade(symbol="S0", venue="OTHER", seq=1, ts_event=START, ts_ingest=START, price=1.0, size=1.0),
        NewsSignal(symbol="S0", venue="OTHER", seq=1, ts_event=START, ts_ingest=START, sentiment=-0.0, item_id="é\n"),
    ]
    once = assert_folds_alike(stretch(events), len(events), rules)
    assert {"symbol_limit", "venue_conflict"} <= set(once.store.column("dead_letters", "reason"))


@pytest.mark.shared_data
def test_a_real_day_folds_alike_from_its_rows(shared_data: Path) -> None:
    files = ["ticks/lean_usa_tick_spy_20131007_trade.csv.gz", "quotes/lean_usa_tick_ibm_20131007_quote.csv.gz"]
    told = with_heartbeats(merged([open_recording(shared_data / file) for file in files]), 1)
    events = [
        replace(event, ts_ingest=at) for at, event in islice(told, 5_000, 45_000) if isinstance(event, EVENT_TYPES)
    ]
    assert_folds_alike(stretch(events), len(events))


def test_every_record_of_the_log_has_exactly_one_row() -> None:
    log = broken(3000)
    store = Folded([log]).store
    offsets = [offset for table in ARCHIVE for offset in store.column(table, "src_offset")]
    assert sorted(offsets) == list(range(len(log.events) + len(log.rejected)))


def test_records_without_a_row_are_told_as_ranges() -> None:
    once = Folded([stretch(market(500))])
    part = once.read_back(100, 400, without=frozenset([100, 101, 250, 399]))
    assert part.missing == [(100, 102), (250, 251), (399, 400)]
    assert part.stretch.offsets[0] == 102
    assert len(part.stretch.events) + len(part.stretch.rejected) == 296


def test_the_bytes_of_what_was_no_event_and_of_marks_are_kept() -> None:
    odd = b' {"type":"session", "venue":"X","seq":1,"ts_event":5,"ts_ingest":6,"state":"halt","new":"field"}'
    log = decode(Poll(0, [odd, b"\xff\x00", odd[:-1]], [7, 8, 9], [1, 1, 1]))
    part = Folded([log]).read_back(7, 10)
    assert part.stretch.raw == [odd]
    assert part.stretch.events == [
        SessionMark(venue="X", seq=1, ts_event=5, ts_ingest=6, state="halt")  # what is unknown is not ours
    ]
    assert [letter.raw for letter in part.stretch.rejected] == [b"\xff\x00", odd[:-1]]
    assert all(isinstance(letter, DeadLetter) for letter in part.stretch.rejected)


def test_an_event_that_other_rules_had_refused_counts_where_it_has_both_rows() -> None:
    early = Trade(symbol="A", venue="X", seq=1, ts_event=10, ts_ingest=10, price=2.0, size=3.0)
    stored = Folded([stretch([early, Control(topic="rules", id="r", ts_event=11, ts_ingest=11)])])
    ahead = Trade(symbol="A", venue="X", seq=1, ts_event=9 * 10**9, ts_ingest=10, price=2.0, size=3.0)
    refused = Folded([stretch([ahead])])
    letters = {name: plain(refused.store.column("dead_letters", name)) for name in ARCHIVE["dead_letters"]}
    trades = {name: plain(stored.store.column("trades", name)) for name in ARCHIVE["trades"]}
    assert restored(0, 0, 1, {"trades": trades, "dead_letters": letters}).stretch.events == [early]
