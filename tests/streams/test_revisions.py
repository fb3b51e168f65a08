"""Bars that are issued again: in the end they are those of a log in perfect order, however the log came and was cut."""

from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.batch import NS
from processors.shard import FoldRules, Shard, ShardOutput
from processors.snapshot import decode_snapshot
from schemas.events import Cancel, Correction, Event, Heartbeat, SessionMark, Trade
from streams.recordings.detect import open_recording
from streams.revisions import Reviser
from tests.disturbed import Session, disturb, session
from tests.fakes import CountingLearner, NoMeter
from tests.logs import stretch
from tests.streams.stored_trades import ListHistory, Row, StoredRows

MINUTE = 1_700_000_100
TIME_KINDS = ("1s", "1m", "5m")
RULES = FoldRules()


class Process:
    """Folds and revises; its rows are stored `behind` outputs later, or when it is told to."""

    def __init__(self, store: StoredRows, snapshot: bytes | None = None, *, behind: int = 0, most_kept: int = 65_536):
        learner = CountingLearner.restored(decode_snapshot(snapshot).learner) if snapshot else CountingLearner()
        self.shard = Shard(0, learner, None)
        if snapshot:
            self.shard.restore(snapshot)
        self.store, self.behind = store, behind
        self.waiting: list[ShardOutput] = []
        self.sure = -1
        self.history = ListHistory(store)
        self.revise = Reviser(RULES.bars, self.history, lambda _: self.sure, NoMeter(), most_kept)

    def fold(self, events: Sequence[Event], first: int) -> None:
        self.waiting.append(self.revise(self.shard.advance(stretch(events, first))))
        self.flush(self.behind)

    def flush(self, leave: int = 0) -> None:
        while len(self.waiting) > leave:
            output = self.waiting.pop(0)
            self.store.put(output)
            self.sure = int(output.stretch.offsets[-1])


def bars(events: Sequence[Event], cuts: Sequence[int] = (), **how: Any) -> list[Row]:
    """All rows of the bars table, revisions included."""
    store = StoredRows()
    process = Process(store, **how)
    for a, b in pairwise([0, *sorted(set(cuts) - {0, len(events)}), len(events)]):
        process.fold(events[a:b], a)
    process.flush()
    return store.tables["bars"]


def newest(rows: Sequence[Row]) -> dict[tuple[str, str, int], tuple[bytes, int, int]]:
    """(symbol, kind, start) → numbers as bits, trades, end; time bars that hold a trade."""
    last = {(r["symbol"], r["kind"], r["start"]): r for r in sorted(rows, key=lambda r: int(r["rev"]))}
    names = ("open", "high", "low", "close", "volume", "value")
    return {
        key: (np.array([r[name] for name in names]).tobytes(), r["n_trades"], r["end"])
        for key, r in last.items()
        if r["kind"] in TIME_KINDS and r["n_trades"] > 0
    }


DAY: Session = disturb(session(6000, 11), 12, fixes=0.01)
WHOLE = bars(DAY.arrived)


def told(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [tuple(r.values()) for r in rows]


def test_the_final_bars_of_a_bad_day_are_those_of_a_perfect_one() -> None:
    assert DAY.late > 40
    assert DAY.fixed > 40
    perfect, final = newest(bars(DAY.ordered)), newest(WHOLE)
    assert len(perfect) > 1500
    assert final == perfect
    assert {r["reason"] for r in WHOLE} == {"closed", "late", "correct", "cancel"}
    first = {(r["symbol"], r["kind"], r["start"]): r for r in reversed(WHOLE)}
    assert newest(list(first.values())) != perfect, "the day was not bad"


@given(st.integers(0, 2**32), st.floats(0, 0.2), st.floats(0, 0.1), st.floats(0, 0.2))
@example(86, 0.0, 0.0625, 0.0)  # a correction, a cancel of the same trade, and the correction once more
@settings(max_examples=15, deadline=None)
def test_so_they_are_whatever_comes_late_wrong_or_twice(seed: int, late: float, fixes: float, twice: float) -> None:
    day = disturb(session(300, seed, symbols=2, seconds=400), seed + 1, late=late, fixes=fixes, twice=twice)
    assert newest(bars(day.arrived)) == newest(bars(day.ordered))


@pytest.mark.shared_data
def test_a_bad_day_of_spy_ends_in_the_bars_of_its_recording(shared_data: Path) -> None:
    """The busiest minutes after the open; most of the copies come more than a thousand trades later."""
    items = open_recording(shared_data / "ticks" / "lean_usa_tick_spy_20131007_trade.csv.gz").items()
    trades = [each for each in islice(items, 30_000) if isinstance(each, Trade)][10_000:]
    trades.sort(key=lambda each: (each.ts_event, each.seq))
    day = disturb(trades, 3)
    assert day.late > 150
    assert day.fixed > 10
    rows = bars(day.arrived, range(0, len(day.arrived), 500), behind=2, most_kept=2000)
    assert newest(rows) == newest(bars(day.ordered))
    assert len([r for r in rows if r["reason"] in {"correct", "cancel"}]) > 20


@given(st.lists(st.integers(0, len(DAY.arrived)), max_size=40), st.integers(0, 5), st.sampled_from([10, 300, 65_536]))
@example([0, 899, 1127], 0, 300)  # what a stretch revised lay behind what it had closed, and was forgotten too soon
@settings(max_examples=20, deadline=None)
def test_any_split_of_the_log_issues_the_same_rows(cuts: list[int], behind: int, most_kept: int) -> None:
    assert told(bars(DAY.arrived, cuts, behind=behind, most_kept=most_kept)) == told(WHOLE)


def with_marks(events: Sequence[Event]) -> list[Event]:
    """Before many a trade its symbol resumes: after a restart it is often the first that is heard of it."""
    out: list[Event] = []
    for number, event in enumerate(events):
        if isinstance(event, Trade) and number % 5 == 0:
            out.append(
                SessionMark(
                    venue=event.venue, seq=number, ts_event=event.ts_event, ts_ingest=event.ts_ingest, state="resume",
                    symbol=event.symbol,
                )
            )  # fmt: skip
        out.append(event)
    return out


@pytest.mark.parametrize("most_kept", [20, 65_536])
@pytest.mark.parametrize("events", [DAY.arrived, with_marks(DAY.arrived)], ids=["trades", "with marks"])
def test_a_process_that_is_killed_and_starts_again_issues_the_same_rows(
    events: Sequence[Event], most_kept: int
) -> None:
    """What was stored after the snapshot is folded again: the database is ahead of the fold then."""
    rng = np.random.default_rng(5)
    store, asked = StoredRows(), 0
    snapshot: bytes | None = None
    at = committed = 0
    while at < len(events):
        process = Process(store, snapshot, behind=int(rng.integers(3)), most_kept=most_kept)
        at, dies_at = committed, committed + int(rng.integers(400, 2000))
        while at < len(events) and at < dies_at:
            step = int(rng.integers(1, 200))
            process.fold(events[at : at + step], at)
            at = min(at + step, len(events))
            if rng.random() < 0.2:
                process.flush()
                snapshot, committed = process.shard.snapshot(), at
        asked += process.history.asked
    process.flush()
    assert asked > 0
    assert told(store.tables["bars"]) == told(bars(events))


def test_a_process_that_remembers_enough_asks_the_database_nothing() -> None:
    store = StoredRows()
    process = Process(store)
    process.fold(DAY.arrived, 0)
    assert process.history.asked == 0


def trade(price: float, at_s: float, seq: int, *, size: float = 1.0) -> Trade:
    at = MINUTE * NS + round(at_s * 1000) * 1_000_000
    return Trade(symbol="A", venue="X", seq=seq, ts_event=at, ts_ingest=at, price=price, size=size)


def beat(at_s: int, state: Any = "up") -> Heartbeat:
    at = (MINUTE + at_s) * NS
    return Heartbeat(venue="X", seq=at, ts_event=at, ts_ingest=at, state=state)


def cancel(at_s: float, refers: int, seq: int = 1) -> Cancel:
    at = MINUTE * NS + round(at_s * 1000) * 1_000_000
    return Cancel(symbol="A", venue="X", seq=seq, ts_event=at, ts_ingest=at, refers_seq=refers)


def correct(price: float, at_s: float, refers: int, seq: int = 1) -> Correction:
    plain = cancel(at_s, refers, seq)
    return Correction(
        symbol="A", venue="X", seq=seq, ts_event=plain.ts_event, ts_ingest=plain.ts_event, refers_seq=refers,
        price=price, size=2.0,
    )  # fmt: skip


def minutes(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """(start in s, rev, reason, close, volume, trades, late) of every minute's rows."""
    return [
        (r["start"] // NS - MINUTE, r["rev"], r["reason"], r["close"], r["volume"], r["n_trades"], r["late_n"])
        for r in bars(events)
        if r["kind"] == "1m"
    ]


def test_one_late_trade_is_one_revision_of_every_time_bar_that_has_closed() -> None:
    log: list[Event] = [trade(1, 10, 1), beat(61), trade(2, 20, 2)]
    rows = [(r["kind"], r["rev"], r["reason"], r["src_offset"]) for r in bars(log)]
    assert rows == [("1s", 0, "closed", 1), ("1m", 0, "closed", 1), ("1s", 0, "late", 2), ("1m", 1, "late", 2)]


def test_a_correction_of_a_closed_bar_issues_it_again_and_a_second_one_wins() -> None:
    log: list[Event] = [trade(5, 10, 1), beat(61), correct(7, 62, 1), correct(6, 63, 1, seq=2)]
    assert minutes(log) == [
        (0, 0, "closed", 5.0, 1.0, 1, 0),
        (0, 1, "correct", 7.0, 2.0, 1, 0),
        (0, 2, "correct", 6.0, 2.0, 1, 0),
    ]


def test_a_correction_of_an_open_bar_waits_until_it_closes() -> None:
    log: list[Event] = [trade(5, 10, 1), correct(7, 12, 1), beat(61)]
    assert minutes(log) == [(0, 0, "closed", 5.0, 1.0, 1, 0), (0, 1, "correct", 7.0, 2.0, 1, 0)]


def test_a_correction_that_comes_before_its_trade_still_means_it() -> None:
    log: list[Event] = [trade(5, 10, 1), beat(61), correct(7, 62, 2), trade(9, 20, 2)]
    assert minutes(log)[-1] == (0, 1, "correct", 7.0, 3.0, 2, 1)


def test_a_correction_of_a_trade_that_nobody_knows_makes_no_row() -> None:
    assert len(minutes([trade(5, 10, 1), beat(61), correct(7, 62, 99), cancel(63, 98)])) == 1


def test_a_cancellation_leaves_its_trade_out_and_one_of_the_only_trade_leaves_no_trade() -> None:
    log: list[Event] = [trade(5, 10, 1), trade(8, 20, 2), beat(61), cancel(62, 2), cancel(63, 1, seq=2)]
    rows = minutes(log)
    assert rows[1:] == [(0, 1, "cancel", 5.0, 1.0, 1, 0), (0, 2, "cancel", 5.0, 0.0, 0, 0)]
    assert not [key for key in newest(bars(log)) if key[1] == "1m"]


def test_a_number_that_is_used_again_means_its_last_trade_before_the_correction() -> None:
    log: list[Event] = [
        trade(5, 10, 7),
        beat(61),
        trade(6, 70, 9000),
        trade(4, 80, 7),
        beat(121),
        correct(2, 122, 7),
        beat(181),
    ]
    again = [row[:4] for row in minutes(log) if row[2] == "correct"]
    assert again == [(60, 1, "correct", 2.0)]


def test_a_late_copy_of_a_trade_makes_no_row() -> None:
    log: list[Event] = [trade(5, 10, 1), trade(5, 11, 5000), beat(61), trade(5, 10, 1)]
    assert len(minutes(log)) == 1


def test_a_copy_in_an_open_bar_is_taken_out_when_it_closes() -> None:
    log: list[Event] = [trade(5, 10, 1), trade(6, 20, 5000), trade(5, 10, 1), beat(61)]
    assert [row[1:6] for row in minutes(log)] == [(0, "closed", 6.0, 3.0, 3), (1, "late", 6.0, 2.0, 2)]


def test_a_revision_keeps_what_its_bar_said_of_the_feed() -> None:
    beats = [beat(i) for i in range(5, 56, 5)]
    log: list[Event] = [beat(0), trade(5, 3, 1), *beats, beat(57, "down"), beat(59), beat(61), trade(6, 30, 2)]
    assert [(r["gap_ms"], r["partial"]) for r in bars(log) if r["kind"] == "1m"] == [(2000, False)] * 2


def test_a_bar_that_was_never_issued_says_of_the_feed_what_is_known_when_it_is() -> None:
    log: list[Event] = [beat(0), beat(4, "down"), beat(58), trade(1, 59, 1), beat(122), trade(2, 10, 2)]
    second = [r for r in bars(log) if r["kind"] == "1s"][-1]
    assert (second["rev"], second["reason"], second["gap_ms"]) == (0, "late", 1000)


def test_two_symbols_of_one_number_are_not_mixed_up() -> None:
    other = [msgspec.structs.replace(each, symbol="B") for each in (trade(5, 10, 1),)]
    log: list[Event] = [trade(5, 10, 1), *other, beat(61), cancel(62, 1)]
    assert [r["symbol"] for r in bars(log) if r["reason"] == "cancel"] == ["A", "A"]
