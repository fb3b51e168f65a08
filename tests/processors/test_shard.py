from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.bar_kernel import FOR_CLOSED, FOR_CORRECTION, FOR_LATE
from processors.batch import NS
from processors.labels import LabelRule
from processors.ledger import Ledger
from processors.shard import FoldRules, Shard, ShardOutput
from processors.snapshot import decode_snapshot
from schemas.events import Event, Heartbeat, NewsSignal, Quote, Trade
from tests.fakes import ConstantModel, CountingLearner
from tests.logs import START, market, stretch

RULES = FoldRules(
    label=LabelRule(horizon_ns=2 * NS, every_ns=NS // 4, others_ns=(NS // 2, 7 * NS), dead_band=1e-5), learn_every=16
)


def shard(learner: CountingLearner | None = None) -> Shard:
    return Shard(0, learner or CountingLearner(), ConstantModel(), rules=RULES)


def fold(
    events: Sequence[Event], cuts: Sequence[int] = (), on: Shard | None = None, first: int = 0
) -> list[ShardOutput]:
    """Fold the events in stretches that end at `cuts`."""
    on, edges = on or shard(), [0, *sorted(cuts), len(events)]
    return [on.advance(stretch(events[a:b], first + a)) for a, b in pairwise(edges)]


def told(outputs: Sequence[ShardOutput]) -> dict[str, list[Any]]:
    """Everything that was said, as bits, without regard to where the log was cut."""
    out: dict[str, list[Any]] = {
        name: [] for name in ("rows", "bars", "requests", "outcomes", "ledger", "rejected", "doors")
    }
    for o in outputs:
        offsets = o.stretch.offsets
        for r, i in enumerate(o.folded):
            bits = (
                o.features[:, r].tobytes(),
                o.scores.by_model[r].tobytes(),
                o.scores.steps[r],
                o.batch.now[r],
                o.batch.sign[r],
            )
            out["rows"].append((offsets[i], o.names[o.batch.symbol[r]], *bits))
        for b in range(len(o.bars)):
            stamped = (o.bars.numbers[b].tobytes(), o.bars.stamps[b].tobytes(), o.bars.partial[b], o.bars.gap_ms[b])
            out["bars"].append((offsets[o.bars.event[b]], o.names[o.bars.row[b]], o.bars.kind[b], *stamped))
        q = o.requests
        for r in range(len(q)):
            asked = [int(getattr(q, name)[r]) for name in ("kind", "start", "end", "why", "partial", "gap_ms")]
            out["requests"].append((offsets[q.event[r]], o.names[q.row[r]], *asked))
        m = o.outcomes
        for k in range(len(m)):
            answer = (m.stamps[k].tobytes(), m.price[k].tobytes(), m.scores[k].tobytes(), m.label[k].tobytes())
            out["outcomes"].append((offsets[m.event[k]], m.horizon[k], m.void[k], *answer))
        out["ledger"] += list(o.ledger)
        out["rejected"] += [(letter.offset, letter.reason) for letter in o.stretch.rejected]
        out["doors"] += list(zip(offsets.tolist(), o.placed.door.tolist(), strict=True))
    return out


EVENTS = market(4000)
WHOLE = told(fold(EVENTS))


@given(st.lists(st.integers(0, len(EVENTS)), max_size=12))
@settings(max_examples=25, deadline=None)
def test_any_split_of_the_log_says_the_same_bits(cuts: list[int]) -> None:
    assert told(fold(EVENTS, cuts)) == WHOLE


def test_one_event_at_a_time_says_the_same_bits() -> None:
    events = EVENTS[:1500]
    assert told(fold(events, range(1, 1500))) == told(fold(events))


def test_the_test_log_reaches_every_door_and_learns() -> None:
    doors = {door for _, door in WHOLE["doors"]}
    assert doors == {0, 1, 2, 3}
    assert {reason for _, reason in WHOLE["rejected"]} == {"crossed_quote", "future"}
    assert len({row[4] for row in WHOLE["rows"]}) > 3
    assert len(WHOLE["outcomes"]) > 100
    assert len(WHOLE["bars"]) > 100
    assert {asked[5] for asked in WHOLE["requests"]} == {FOR_LATE, FOR_CORRECTION, FOR_CLOSED}
    assert len(WHOLE["ledger"]) > 1


@pytest.mark.parametrize("at", [1, 700, 1999, 3999])
def test_a_snapshot_continues_bit_for_bit(at: int) -> None:
    first = shard()
    before = fold(EVENTS[:at], on=first)
    raw = first.snapshot()
    second = shard(CountingLearner.restored(decode_snapshot(raw).learner))
    second.restore(raw)
    assert told([*before, *fold(EVENTS[at:], on=second, first=at)]) == WHOLE
    again = shard(CountingLearner.restored(decode_snapshot(raw).learner))
    again.restore(raw)
    assert again.snapshot() == raw


@pytest.mark.parametrize("venues", [1, 16, 17, 18, 40])
def test_a_snapshot_of_any_number_of_venues_is_gone_on_from(venues: int) -> None:
    """They come one by one, or at once: what is kept for growth is not what is remembered."""
    beats = [Heartbeat(venue=f"V{n}", seq=0, ts_event=START + n, ts_ingest=START + n) for n in range(venues)]
    one_by_one, at_once, again = shard(), shard(), shard()
    fold(beats, range(1, venues), on=one_by_one)
    fold(beats, on=at_once)
    again.restore(one_by_one.snapshot())
    assert one_by_one.snapshot() == at_once.snapshot() == again.snapshot()


def test_what_is_remembered_does_not_depend_on_where_the_log_was_cut() -> None:
    remembered = []
    for cuts in ((), (1, 2, 700, 701, 1_999), range(1, 2_000, 7)):
        on = shard()
        fold(EVENTS[:2_000], cuts, on=on)
        remembered.append(on.snapshot())
    assert len(set(remembered)) == 1


def test_the_ledger_adds_up() -> None:
    on = shard()
    fold(EVENTS, on=on)
    assert on.ledger.counts.sum() == len(EVENTS)
    assert on.ledger.counts[0] == len(WHOLE["rows"])


def test_a_nan_has_one_hash_whatever_its_sign() -> None:
    def hashed(value: float) -> int:
        ledger = Ledger.start()
        ledger.enter(np.array([0]), np.array([0]), np.zeros(1, np.int8), np.array([0]), np.array([[value]]))
        return int(ledger.features_hash[0])

    assert hashed(np.nan) == hashed(-np.nan)
    assert hashed(0.0) != hashed(-0.0)


def test_an_unknown_symbol_flood_is_refused_and_counted() -> None:
    flood = [
        Trade(symbol=f"F{i}", venue="SIM", seq=1, ts_event=START + i, ts_ingest=START + i, price=1.0, size=1.0)
        for i in range(50)
    ]
    on = Shard(0, CountingLearner(), None, rules=FoldRules(max_symbols=20))
    out = on.advance(stretch(flood))
    assert len(out.folded) == 20
    assert [letter.reason for letter in out.stretch.rejected] == ["symbol_limit"] * 30
    assert on.ledger.counts.sum() == 50


def test_one_symbol_more_than_one_is_refused_as_any_other() -> None:
    on = Shard(0, CountingLearner(), None, rules=FoldRules(max_symbols=1))
    two = [
        Trade(symbol=name, venue="SIM", seq=1, ts_event=START + i, ts_ingest=START + i, price=1.0, size=1.0)
        for i, name in enumerate(("A", "B", "A", "B"))
    ]
    outputs = [on.advance(stretch(two)), on.advance(stretch(two[1:2], 4))]
    assert [letter.reason for out in outputs for letter in out.stretch.rejected] == ["symbol_limit"] * 3


def test_a_symbol_belongs_to_the_venue_that_traded_it_first() -> None:
    one = Trade(symbol="A", venue="X", seq=1, ts_event=START, ts_ingest=START, price=1.0, size=1.0)
    other = msgspec.structs.replace(one, venue="Y", seq=2)
    out = shard().advance(stretch([one, other, msgspec.structs.replace(one, seq=2)]))
    assert [letter.reason for letter in out.stretch.rejected] == ["venue_conflict"]
    assert out.stretch.offsets.tolist() == [0, 2]


def test_news_that_came_before_the_market_was_heard_does_not_make_it_late() -> None:
    """A recording of long ago is played beside a wire that is live."""
    events = [event for event in EVENTS[:1_500] if not isinstance(event, NewsSignal)]
    ahead = START + 1_000_000 * NS
    early = [
        NewsSignal(symbol=name, venue="WIRE", seq=7, ts_event=ahead, ts_ingest=ahead, sentiment=0.5, item_id="7")
        for name in sorted({event.symbol for event in events if isinstance(event, Trade)})
    ]
    without, after = told(fold(events)), told(fold([*early, *events]))
    assert [door for _, door in after["doors"]][len(early) :] == [door for _, door in without["doors"]]
    assert [row[5] for row in after["rows"]][len(early) :] == [row[5] for row in without["rows"]], "the clock"
    for what in ("bars", "outcomes", "requests"):
        assert len(after[what]) == len(without[what]) > 0
    assert told(fold([*early, *events], range(1, 40))) == after


def quote(mid: float, at_s: float, seq: int) -> Quote:
    at = START + round(at_s * NS)
    return Quote(
        symbol="A",
        venue="X",
        seq=seq,
        ts_event=at,
        ts_ingest=at,
        bid=mid - 0.01,
        bid_size=1,
        ask=mid + 0.01,
        ask_size=1,
    )


def beat(at_s: float) -> Heartbeat:
    at = START + round(at_s * NS)
    return Heartbeat(venue="X", seq=0, ts_event=at, ts_ingest=at)


def test_a_label_is_the_newest_price_at_its_horizon_and_not_one_later() -> None:
    log = [quote(10, 0.0, 1), quote(11, 2.0, 2), quote(99, 2.001, 3)]
    outcome = shard().advance(stretch(log)).matured
    assert outcome.price.tolist() == [[10.0, 11.0]]
    assert outcome.label.tolist() == [1.0]
    assert outcome.event.tolist() == [2]


def test_a_heartbeat_lets_the_label_of_an_idle_symbol_mature() -> None:
    log = [quote(10, 0.0, 1), beat(2.0), beat(3.0)]
    outcome = shard().advance(stretch(log)).matured
    assert outcome.event.tolist() == [2]
    assert outcome.label.tolist() == [0.5]


def test_a_label_that_matured_is_learnt_before_the_row_that_let_it_mature() -> None:
    learner = CountingLearner()
    rules = FoldRules(label=LabelRule(horizon_ns=NS, every_ns=NS), learn_every=1)
    out = Shard(0, learner, None, rules=rules).advance(stretch([quote(10, 0, 1), quote(11, 0.5, 2), quote(12, 1.5, 3)]))
    assert out.scores.steps.tolist() == [0, 0, 1]
