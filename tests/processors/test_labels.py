"""Every sampled prediction has one outcome a horizon: what came true, or why nothing did."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan, log, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.batch import NS
from processors.interruptions import REASONS
from processors.labels import LabelRule
from processors.shard import FoldRules, Shard, ShardOutput
from schemas.errors import IndicatorError
from schemas.events import Event, Heartbeat, NewsSignal, Quote, SessionMark
from tests.fakes import ConstantModel, CountingLearner
from tests.logs import START, stretch

DAY = 86_400 * NS
RULE = LabelRule(horizon_ns=2 * NS, every_ns=NS, others_ns=(NS, 20 * NS))
GAP_NS = 5 * NS


def quote(mid: float, at_s: float, seq: int, symbol: str = "A", venue: str = "X") -> Quote:
    at = START + round(at_s * NS)
    told: dict[str, Any] = {"symbol": symbol, "venue": venue, "seq": seq, "ts_event": at, "ts_ingest": at}
    return Quote(**told, bid=mid - 0.01, bid_size=1, ask=mid + 0.01, ask_size=1)


def beat(at_s: float, state: Any = "up", venue: str = "X") -> Heartbeat:
    at = START + round(at_s * NS)
    return Heartbeat(venue=venue, seq=0, ts_event=at, ts_ingest=at, state=state)


def mark(state: Any, at_s: float, symbol: str = "", venue: str = "X") -> SessionMark:
    at = START + round(at_s * NS)
    return SessionMark(venue=venue, seq=0, ts_event=at, ts_ingest=at, state=state, symbol=symbol)


def fold(events: Sequence[Event], rule: LabelRule = RULE, cuts: Sequence[int] = ()) -> list[ShardOutput]:
    rules = FoldRules(label=rule, learn_every=4, heartbeat_gap_ns=GAP_NS)
    shard, edges = Shard(0, CountingLearner(), ConstantModel(), rules=rules), [0, *sorted(cuts), len(events)]
    return [shard.advance(stretch(events[a:b], a)) for a, b in pairwise(edges)]


@dataclass(frozen=True)
class Told:
    """One outcome, without what its place in a stretch decides."""

    offset: int
    symbol: str
    predicted: int
    horizon_s: float
    label: float
    void: str


def outcomes(events: Sequence[Event], rule: LabelRule = RULE) -> list[Told]:
    (output,) = fold(events, rule)
    m = output.outcomes
    return [
        Told(
            int(m.event[k]), output.names[m.row[k]], int(m.stamps[k, 1]), m.horizon[k] / NS, float(m.label[k]),
            REASONS[m.void[k]],
        )
        for k in range(len(m))
    ]  # fmt: skip


def of_horizon(told: Sequence[Told], seconds: float) -> list[tuple[int, float | str]]:
    """(offset of the prediction, its label or why it has none)."""
    return [(each.predicted, each.void or each.label) for each in told if each.horizon_s == seconds]


def test_each_horizon_has_an_outcome_of_its_own() -> None:
    log_ = [quote(10, 0.0, 1), quote(11, 0.9, 2), quote(9, 1.9, 3), beat(2.5)]
    told = outcomes(log_)
    assert of_horizon(told, 1.0)[0] == (0, 1.0)
    assert of_horizon(told, 2.0) == [(0, 0.0)]
    assert of_horizon(told, 20.0) == []


def test_a_move_within_the_dead_band_is_neither_up_nor_down() -> None:
    rule = LabelRule(horizon_ns=NS, every_ns=NS, dead_band=0.001)
    for reached, label in ((100.05, 0.5), (99.95, 0.5), (100.2, 1.0), (99.8, 0.0), (100.0, 0.5)):
        assert of_horizon(outcomes([quote(100, 0, 1), quote(reached, 0.5, 2), beat(3)], rule), 1.0)[0] == (0, label)


def test_a_halt_voids_what_reaches_over_it_and_nothing_is_asked_until_trading_resumes() -> None:
    log_ = [
        quote(10, 0.0, 1), quote(10, 1.5, 2), mark("halt", 2.5, "A"), quote(10, 3.0, 3), quote(10, 4.2, 4),
        mark("resume", 4.5, "A"), quote(10, 5.0, 5), beat(7.5),
    ]  # fmt: skip
    assert of_horizon(outcomes(log_), 2.0) == [(0, 0.5), (1, "halt"), (6, 0.5)]


def test_a_halt_of_one_symbol_is_none_of_another_and_one_of_the_venue_is_of_all_its_symbols() -> None:
    quotes = [quote(10, 0.0, 1), quote(10, 0.1, 1, "B"), quote(10, 0.2, 1, "C", "Y"), beat(0.3, venue="Y")]
    told = outcomes([*quotes, mark("halt", 1, "A")])
    assert {each.symbol for each in told if each.void} == {"A"}
    told = outcomes([*quotes, mark("close", 1)])
    assert {(each.symbol, each.void) for each in told if each.void} == {("A", "session"), ("B", "session")}


def test_a_halt_of_what_has_never_traded_ends_with_the_venue_s_word_wherever_the_log_is_cut() -> None:
    quotes = [quote(10 + n, n, n + 1) for n in range(4)]
    events = [beat(0), mark("halt", 0, "A"), mark("open", 0), *quotes]
    told = [
        [float(label) for out in fold(events, cuts=cuts) for label in out.outcomes.label]
        for cuts in ([], [2], [3], [5])
    ]
    assert told == [[1.0, 1.0, 1.0]] * 4


def test_silence_of_the_feed_voids_what_reaches_into_it_whatever_is_heard_first() -> None:
    before = [quote(10, 0.0, 1), beat(1.0), beat(2.0), quote(10, 2.2, 2)]
    assert of_horizon(outcomes([*before, beat(9.0)]), 2.0) == [(0, 0.5), (3, "gap")]
    assert of_horizon(outcomes([*before, quote(12, 9.0, 3)]), 2.0) == [(0, 0.5), (3, "gap")]


def test_a_feed_that_says_that_it_is_down_answers_what_it_had_heard_and_is_asked_nothing() -> None:
    log_ = [
        quote(10, 0.0, 1), quote(11, 1.5, 2), beat(2.5, "down"), quote(11, 3.0, 3), beat(4.0), quote(11, 4.1, 4), beat(6.5),
    ]  # fmt: skip
    assert of_horizon(outcomes(log_), 2.0) == [(0, 1.0), (1, "gap"), (5, 0.5)]


def test_a_venue_that_never_sends_heartbeats_has_no_gaps() -> None:
    assert of_horizon(outcomes([quote(10, 0.0, 1), quote(11, 600.0, 2)]), 2.0) == [(0, 0.5)]


def test_what_reaches_over_the_end_of_the_session_is_void_from_the_start() -> None:
    before = ((START // DAY + 1) * DAY - START) / NS
    told = outcomes([quote(10, before - 1.0, 1), quote(11, before + 5, 2), quote(12, before + 9, 3)])
    assert of_horizon(told, 2.0) == [(0, "session"), (1, 0.5)]
    assert [each.offset for each in told if each.void] == [0, 0, 0]


def test_news_moves_no_price_and_is_no_answer() -> None:
    at = START + 3 * NS
    news = NewsSignal(symbol="A", venue="W", seq=1, ts_event=at, ts_ingest=at, sentiment=0.5, item_id="n")
    assert of_horizon(outcomes([quote(10, 0.0, 1), news, beat(3.5)]), 2.0) == [(0, 0.5)]


def test_void_labels_teach_nothing() -> None:
    log_: list[Event] = [quote(10 + k % 3, 4.0 * k, k + 1) for k in range(6)]
    for k in range(5):
        log_.append(mark("halt", 30 + k, "A"))
        log_ += [mark("resume", 30.2 + k, "A"), quote(10 + k, 30.5 + k, 20 + k)]
    rules = FoldRules(label=LabelRule(horizon_ns=2 * NS, every_ns=NS), learn_every=1)
    output = Shard(0, CountingLearner(), None, rules=rules).advance(stretch(log_))
    answered = int(np.isin(output.matured.label, [0.0, 1.0]).sum())
    assert (output.matured.void > 0).sum() >= 4
    assert output.scores.steps[-1] == answered


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    for wrong in (
        {"horizon_ns": 0},
        {"every_ns": 0},
        {"others_ns": (10 * NS,)},
        {"others_ns": (-1,)},
        {"dead_band": 1.0},
    ):
        with pytest.raises(IndicatorError):
            LabelRule(**wrong)  # type: ignore[arg-type]


# the oracle: each prediction walks the log by itself, with nothing remembered

STEPS = st.integers(0, 30)
HAPPENS = st.sampled_from(["quote"] * 6 + ["beat"] * 4 + ["down", "halt", "resume", "close", "halt all", "open"])


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    at, out = 0.0, list[Event]()
    near_midnight = draw(st.booleans())
    if near_midnight:
        at = ((START // DAY + 1) * DAY - START) / NS - 12
    for seq in range(draw(st.integers(5, 60))):
        at += draw(STEPS) / 4
        symbol = draw(st.sampled_from("AB"))
        what = draw(HAPPENS)
        if what == "quote":
            out.append(quote(10 + draw(st.integers(0, 3)), at, seq, symbol))
        elif what in ("beat", "down"):
            out.append(beat(at, "up" if what == "beat" else "down"))
        elif what == "halt all":
            out.append(mark("halt", at))
        else:
            out.append(mark(what, at, "" if what == "open" else symbol))
    return out


def concerns(event: Event, symbol: str) -> bool:
    return event.symbol in ("", symbol)


def broken(events: Sequence[Event], j: int) -> tuple[str, bool]:
    """(why nothing may reach over event j, whether what came before it was not heard of), from all that was before."""
    event = events[j]
    beats = [each for each in events[:j] if isinstance(each, Heartbeat)]
    newest = max((each.ts_event for each in beats), default=None)
    down = bool(beats) and beats[-1].state == "down"
    if isinstance(event, SessionMark):
        return {"halt": "halt", "close": "session"}.get(event.state, ""), False
    silent = newest is not None and event.ts_event - newest > GAP_NS
    if isinstance(event, Heartbeat):
        return ("gap", silent) if not down and (silent or event.state == "down") else ("", False)
    return ("gap", True) if silent else ("", False)


def may_ask(events: Sequence[Event], j: int) -> bool:
    def stops(marks: list[SessionMark]) -> bool:
        return bool(marks) and marks[-1].state in ("halt", "close")

    marks = [event for event in events[:j] if isinstance(event, SessionMark)]
    of_venue = [mark for mark in marks if not mark.symbol]
    own = [mark for mark in marks if mark.symbol == events[j].symbol or (not mark.symbol and not stops([mark]))]
    beats = [event for event in events[:j] if isinstance(event, Heartbeat)]
    down = bool(beats) and beats[-1].state == "down"
    return not (stops(of_venue) or stops(own) or down or broken(events, j)[0])


def oracle(events: Sequence[Event], horizon: int, every: int) -> Iterator[tuple[int, int, str, float]]:
    """(offset of the prediction, offset that made its outcome known, why void, label)."""
    for symbol in "AB":
        sampled = -1
        for i, event in enumerate(events):
            if not isinstance(event, Quote) or event.symbol != symbol:
                continue
            if event.ts_event // every <= sampled or not may_ask(events, i):
                continue
            sampled = event.ts_event // every
            if event.ts_event + horizon >= (event.ts_event // DAY + 1) * DAY:
                yield i, i, "session", nan
                continue
            yield from _answer(events, i, horizon)


def _answer(events: Sequence[Event], i: int, horizon: int) -> Iterator[tuple[int, int, str, float]]:
    asked = events[i]
    assert isinstance(asked, Quote)
    price = reached = (asked.bid + asked.ask) / 2
    for j in range(i + 1, len(events)):
        event = events[j]
        if not concerns(event, asked.symbol):
            continue
        why, unheard = broken(events, j)
        if isinstance(event, SessionMark) and not why:
            continue
        if why and unheard:
            yield i, j, why, nan
            return
        if asked.ts_event + horizon < event.ts_event:
            moved = log(reached / price)
            yield i, j, "", 0.5 if moved == 0 else float(moved > 0)
            return
        if why:
            yield i, j, why, nan
            return
        if isinstance(event, Quote):
            reached = (event.bid + event.ask) / 2


@settings(max_examples=80, deadline=None)
@given(logs(), st.lists(st.integers(1, 60), max_size=4))
def test_outcomes_are_those_of_an_oracle_that_walks_the_log_for_each_prediction(
    events: list[Event], cuts: list[int]
) -> None:
    found: dict[int, set[tuple[int, int, str, float]]] = {rule.horizon_ns: set() for rule in RULE.horizons}
    told = 0
    cuts = sorted({cut for cut in cuts if cut < len(events)})
    edges = [0, *cuts]
    for base, output in zip(edges, fold(events, cuts=cuts), strict=True):
        m = output.outcomes
        told += len(m)
        for k in range(len(m)):
            label = float(m.label[k])
            row = (int(m.stamps[k, 1]), base + int(m.event[k]), REASONS[m.void[k]], -1.0 if isnan(label) else label)
            found[int(m.horizon[k])].add(row)
    expected = {
        rule.horizon_ns: {
            (i, j, why, -1.0 if isnan(label) else label)
            for i, j, why, label in oracle(events, rule.horizon_ns, rule.every_ns)
        }
        for rule in RULE.horizons
    }
    assert found == expected
    assert told == sum(map(len, expected.values()))
