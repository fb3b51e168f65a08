"""Bars against an oracle that groups trades with plain Python, and at their edges."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.bar_kernel import FOR_CLOSED, FOR_CORRECTION, FOR_LATE
from processors.bars import BY_COUNT, BY_TIME, BY_VALUE, BY_VOLUME, KINDS, BarBuilder, BarKind
from processors.batch import NS
from processors.ledger import DOORS
from processors.shard import FoldRules, Shard
from processors.timeline import DUPLICATE, LATE, WINDOW
from schemas.errors import IndicatorError
from schemas.events import Cancel, Event, Heartbeat, Quote, Trade
from tests.fakes import CountingLearner
from tests.logs import START, market, stretch

Told = dict[tuple[str, str], list[dict[str, Any]]]
MINUTE = START // (60 * NS) * 60


def trade(price: float, at_s: float, *, size: float = 1.0, seq: int | None = None, in_bars: bool = True) -> Trade:
    at = round((MINUTE + at_s) * NS)
    seq = seq if seq is not None else at
    return Trade(symbol="A", venue="X", seq=seq, ts_event=at, ts_ingest=at, price=price, size=size, in_bars=in_bars)


def beat(at_s: float, state: Any = "up") -> Heartbeat:
    at = round((MINUTE + at_s) * NS)
    return Heartbeat(venue="X", seq=at, ts_event=at, ts_ingest=at, state=state)


def bars(events: Sequence[Event], kinds: Sequence[BarKind] = KINDS) -> Told:
    """(symbol, kind) → closed bars in order."""
    out = Shard(0, CountingLearner(), None, rules=FoldRules(bars=tuple(kinds))).advance(stretch(events))
    told: Told = defaultdict(list)
    b = out.bars
    for i in range(len(b)):
        names = ("open", "high", "low", "close", "volume", "value")
        bar = dict(zip(names, b.numbers[i].tolist(), strict=True))
        start, end, n = b.stamps[i, :3].tolist()
        bar |= {
            "start": start,
            "end": end,
            "n": n,
            "late_n": int(b.stamps[i, 7]),
            "partial": bool(b.partial[i]),
            "gap_ms": int(b.gap_ms[i]),
        }
        told[out.names[b.row[i]], kinds[b.kind[i]].name].append(bar)
    return told


def one_minute(events: Sequence[Event]) -> list[dict[str, Any]]:
    return bars(events, [BarKind("1m", BY_TIME, 60 * NS)])["A", "1m"]


def test_every_trade_is_in_exactly_the_bar_of_its_own_time() -> None:
    """The oracle groups the accepted trades of a messy log by their stamps and takes first and last by (time, sequence).

    A late trade belongs to them where its bar is still open.
    """
    events = market(6000)
    shard = Shard(0, CountingLearner(), None)
    out = shard.advance(stretch(events))
    doors, clock = out.placed.door.tolist(), out.placed.now.tolist()
    accepted = [
        e
        for i, e in enumerate(out.stretch.events)
        if isinstance(e, Trade) and e.in_bars and doors[i] != DUPLICATE and (e.ts_event // NS + 2) * NS > clock[i]
    ]
    assert any(doors[i] == LATE and e in accepted for i, e in enumerate(out.stretch.events))
    expected: dict[tuple[str, int], list[Trade]] = defaultdict(list)
    for each in accepted:
        expected[each.symbol, each.ts_event // NS].append(each)
    found = [(s, bar) for (s, kind), made in bars(events).items() if kind == "1s" for bar in made]
    assert len(found) > 500
    for symbol, bar in found:
        group = expected.pop((symbol, bar["start"] // NS))
        inside = sorted(group, key=lambda t: (t.ts_event, t.seq))
        assert (bar["open"], bar["close"]) == (inside[0].price, inside[-1].price)
        assert (bar["high"], bar["low"]) == (max(t.price for t in group), min(t.price for t in group))
        assert bar["n"] == len(group)
        assert bar["volume"] == sum(t.size for t in group)
        assert bar["value"] == math.fsum(t.size * t.price for t in group)
    newest = {s: max(t.ts_event for t in accepted if t.symbol == s) for s, _ in expected}
    assert all((second + 1) * NS + NS > newest[s] for s, second in expected), "only the newest bars may be open"


def test_a_bar_closes_once_the_clock_is_past_its_end_by_the_lateness() -> None:
    assert one_minute([trade(1, 0.5), beat(60.999)]) == []
    assert len(one_minute([trade(1, 0.5), beat(61.0)])) == 1


def test_a_trade_out_of_order_within_the_lateness_finds_its_bar_open() -> None:
    (bar,) = one_minute([trade(5, 30), trade(7, 60.2), trade(6, 59.9), beat(61)])
    assert (bar["close"], bar["n"], bar["late_n"]) == (6, 2, 0)
    (bar,) = one_minute([trade(5, 30), trade(7, 30.5), trade(6, 30.2), beat(61)])
    assert (bar["close"], bar["late_n"]) == (7, 1)


def test_a_late_trade_whose_bar_is_still_open_is_taken_and_told() -> None:
    (bar,) = one_minute([trade(5, 30), trade(9, 50), trade(3, 10), beat(61)])
    assert (bar["open"], bar["low"], bar["n"], bar["late_n"]) == (3, 3, 3, 1)
    (bar,) = one_minute([trade(5, 30), beat(50), trade(3, 40), beat(61)])
    assert (bar["close"], bar["n"], bar["late_n"]) == (3, 2, 1), "late, though in order"


def requests(events: Sequence[Event]) -> list[tuple[str, int, int]]:
    """What is asked for: (why, start in seconds, event), one minute bars."""
    rules = FoldRules(bars=(BarKind("1m", BY_TIME, 60 * NS),))
    asked = Shard(0, CountingLearner(), None, rules=rules).advance(stretch(events)).requests
    names = {FOR_LATE: "late", FOR_CORRECTION: "correction", FOR_CLOSED: "closed"}
    found = zip(asked.why.tolist(), asked.start.tolist(), asked.event.tolist(), strict=True)
    return [(names[why], start // NS - MINUTE if why != FOR_CORRECTION else 0, event) for why, start, event in found]


def fix(at_s: float, refers: float, *, seq: int = 1) -> Cancel:
    at = round((MINUTE + at_s) * NS)
    refers_seq = round((MINUTE + refers) * NS)
    return Cancel(symbol="A", venue="X", seq=seq, ts_event=at, ts_ingest=at, refers_seq=refers_seq)


def test_a_late_trade_whose_bar_has_closed_asks_for_the_bar_again() -> None:
    assert requests([trade(1, 10), beat(61), trade(2, 20)]) == [("late", 0, 2)]


def test_a_late_print_asks_for_nothing() -> None:
    assert requests([trade(1, 10), beat(61), trade(2, 20, in_bars=False)]) == []


def test_a_correction_asks_for_its_trade_and_for_every_bar_that_was_open_with_it() -> None:
    log: list[Event] = [trade(1, 10), fix(20, refers=10), beat(61), trade(2, 70), beat(130)]
    assert requests(log) == [("correction", 0, 1), ("closed", 0, 2)]


def test_a_correction_that_comes_twice_asks_once() -> None:
    assert requests([trade(1, 10), fix(20, 10), fix(20, 10), fix(20, 10, seq=2)]) == [
        ("correction", 0, 1),
        ("correction", 0, 3),
    ]


def test_a_trade_that_may_have_been_seen_before_has_its_bar_looked_at_again() -> None:
    assert requests([trade(1, 10, seq=1), trade(2, 20, seq=1 + WINDOW), trade(1, 10, seq=1), beat(61)]) == [
        ("closed", 0, 3)
    ]


@given(st.permutations(range(6)))
def test_volume_and_value_are_the_same_bits_in_any_order_of_arrival(order: list[int]) -> None:
    trades = [trade(0.1 + 0.07 * i, i, size=0.3 + 1e9 * (i == 2) + 1e-7 * i) for i in range(6)]
    (bar,) = one_minute([*(trades[i] for i in order), beat(61)])
    assert bar["volume"] == math.fsum(t.size for t in trades)
    assert bar["value"] == math.fsum(t.size * t.price for t in trades)
    assert (bar["open"], bar["close"]) == (trades[0].price, trades[-1].price)


def test_a_volume_bar_is_cut_by_the_exact_sum() -> None:
    """0.1 added ten times in floats is less than 1."""
    made = bars([trade(1, i, size=0.1) for i in range(20)], [BarKind("v1", BY_VOLUME, 1.0)])["A", "v1"]
    assert [bar["n"] for bar in made] == [10, 10]


def test_an_empty_minute_has_no_bar() -> None:
    made = one_minute([trade(1, 10), trade(2, 200), beat(300)])
    assert [bar["start"] // NS - MINUTE for bar in made] == [0, 180]


def test_a_print_that_sets_no_price_is_in_no_bar() -> None:
    (bar,) = one_minute([trade(1, 10), trade(99, 11, in_bars=False), beat(61)])
    assert (bar["high"], bar["volume"]) == (1, 1)


def test_a_bar_that_began_before_the_venue_was_heard_of_is_partial() -> None:
    heard_late = one_minute([trade(1, 10), beat(61)])
    heard_before = one_minute([beat(-1), trade(1, 10), beat(61)])
    assert [heard_late[0]["partial"], heard_before[0]["partial"]] == [True, False]


def test_the_time_that_the_feed_was_down_is_told() -> None:
    log: list[Event] = [
        beat(0),
        beat(5),
        trade(1, 6),
        beat(10),
        beat(12, "down"),
        beat(17.5),
        *map(beat, range(20, 40, 5)),
    ]
    log += [beat(37, "down"), beat(38, "down"), beat(38.25), *map(beat, range(40, 62, 5)), beat(61)]
    (bar,) = one_minute(log)
    assert bar["gap_ms"] == pytest.approx(5_500 + 1_250, abs=1)


def test_heartbeats_too_far_apart_say_that_nobody_listened_in_between() -> None:
    listened: list[Event] = [beat(0), trade(1, 3), *map(beat, (5, 10, 15, 20))]
    (bar,) = one_minute([*listened, beat(33), *map(beat, range(38, 62, 5)), beat(61)])
    assert bar["gap_ms"] == 13_000
    (bar,) = one_minute([*listened, trade(2, 61.5)])
    assert bar["gap_ms"] == 40_000, "nothing was heard between 20 s and the end of the minute"


def test_more_outages_than_are_remembered_tell_of_the_last_ones() -> None:
    beats = [beat(0.5 * i, "down" if i % 2 else "up") for i in range(123)]
    (bar,) = one_minute([beat(0), trade(1, 0.2), *beats[1:]])
    assert 0 < bar["gap_ms"] <= 8_000


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        (BarKind("tick2", BY_COUNT, 2), [2, 4]),
        (BarKind("volume5", BY_VOLUME, 5), [3, 5]),
        (BarKind("value30", BY_VALUE, 30), [2, 4, 5]),
    ],
    ids=lambda kind: kind.name if isinstance(kind, BarKind) else "",
)
def test_the_trade_that_reaches_the_size_belongs_to_the_bar(kind: BarKind, ends: list[int]) -> None:
    sizes = [1, 3, 1, 2, 3]
    log: list[Event] = [trade(10, i, size=size) for i, size in enumerate(sizes)]
    made = bars(log, [kind])["A", kind.name]
    assert [sum(bar["n"] for bar in made[: i + 1]) for i in range(len(made))] == ends


def test_what_counts_trades_starts_anew_in_a_new_session_and_says_so() -> None:
    day = 86_400
    made = bars(
        [trade(1, 0), trade(2, 1), trade(3, day), trade(4, day + 1), trade(5, day + 2)], [BarKind("tick3", BY_COUNT, 3)]
    )
    assert [(bar["n"], bar["partial"]) for bar in made["A", "tick3"]] == [(2, True), (3, False)]


def test_a_bar_shorter_than_the_lateness_is_refused() -> None:
    with pytest.raises(IndicatorError, match="shorter than the allowed lateness"):
        BarBuilder([BarKind("1ms", BY_TIME, NS / 1000)], 1, NS)


def test_quotes_make_no_bar() -> None:
    at = MINUTE * NS
    quote = Quote(symbol="A", venue="X", seq=1, ts_event=at, ts_ingest=at, bid=1, bid_size=1, ask=2, ask_size=1)
    assert bars([quote, beat(120)]) == {}


def test_doors_are_named_in_their_order() -> None:
    assert DOORS == ("folded", "duplicate", "late", "control", "rejected")
