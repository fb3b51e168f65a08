"""Rules in the fold: what they say is what their words say, whatever the polls, and nothing else changes by them."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.batch import NS
from processors.labels import LabelRule
from processors.sessions import Calendar, Sessions
from processors.shard import FoldRules, Shard, ShardOutput
from processors.snapshot import decode_snapshot
from schemas.events import Control, Event, NewsSignal, Trade
from schemas.rules import MOST_RULES, Condition, Rule, RuleChange, body_of_rule
from tests.fakes import ConstantModel, CountingLearner
from tests.logs import START, market, stretch
from tests.processors.rule_logs import BASE, added, beat, control, rule, small_logs, small_rules, trades, when
from tests.processors.rule_oracle import Said, expected, said, same

RULES = FoldRules(label=LabelRule(horizon_ns=2 * NS, every_ns=NS // 4, others_ns=(5 * NS,)), learn_every=16)
KINDS = [kind.name for kind in RULES.bars]
SESSIONS = Sessions(
    {"DAY": Calendar(*(BASE + np.array([0, 20, 40], np.int64) * NS + shift * NS for shift in (0, 5, 15)))}, {"X": "DAY"}
)
"""Sessions of 20 seconds, of which 10 are regular trading; in the end UTC days."""


def shard(snapshot: bytes | None = None) -> Shard:
    learner = CountingLearner.restored(decode_snapshot(snapshot).learner) if snapshot else CountingLearner()
    made = Shard(0, learner, ConstantModel(), rules=RULES, sessions=SESSIONS)
    if snapshot:
        made.restore(snapshot)
    return made


def fold(
    events: Sequence[Event], cuts: Sequence[int] = (), on: Shard | None = None, first: int = 0
) -> list[ShardOutput]:
    on, edges = on or shard(), [0, *sorted(cuts), len(events)]
    return [on.advance(stretch(events[a:b], first + a)) for a, b in pairwise(edges)]


def turns(events: Sequence[Event], *rules: Rule) -> list[tuple[int, bool]]:
    """(number of the event behind the rules, fired or cleared)"""
    return [(each[0] - len(rules), each[3]) for each in said(fold([*added(*rules), *events]))]


def test_a_rule_fires_beyond_its_threshold_and_clears_behind_its_band() -> None:
    above = rule("r", when("last", ">", 10, hysteresis=2))
    prices = trades((0, 10), (1, 11), (2, 9), (3, 12), (4, 8), (5, 10), (6, 10.5))
    assert turns(prices, above) == [(1, True), (4, False), (6, True)]
    assert turns(prices, rule("r", when("last", ">", 10))) == [(1, True), (2, False), (3, True), (4, False), (6, True)]


def test_a_crossing_must_have_been_seen_on_the_other_side() -> None:
    prices = trades((0, 11), (1, 9.5), (2, 11), (3, 9), (4, 11))
    assert turns(prices, rule("r", when("last", "crosses_above", 10))) == [(2, True), (3, False), (4, True)]
    banded = rule("r", when("last", "crosses_above", 10, hysteresis=1))
    assert turns(prices, banded) == [(4, True)]
    assert turns(prices, rule("r", when("last", "crosses_below", 10))) == [(1, True), (2, False), (3, True), (4, False)]


def test_a_rule_fires_when_it_has_held_for_its_dwell_also_by_a_heartbeat() -> None:
    held = rule("r", when("last", ">", 10), dwell_s=2)
    assert turns(trades((0, 11), (1.999, 11), (2, 11)), held) == [(2, True)]
    assert turns(trades((0, 11), (1, 9), (1.5, 11), (3, 11), (3.5, 11)), held) == [(4, True)]
    assert turns([*trades((0, 11)), beat(1), beat(2), beat(3)], held) == [(2, True)]


def test_time_in_which_nobody_listened_is_no_dwell() -> None:
    held = rule("r", when("last", ">", 10), dwell_s=2)
    assert turns([beat(0), *trades((0, 11)), beat(6), beat(7), beat(8)], held) == [(4, True)]
    down = [beat(0), *trades((0, 11)), beat(1, "down"), beat(2, "down"), beat(3, "down"), beat(4), beat(5), beat(6)]
    assert turns(down, held) == [(7, True)]
    assert turns([beat(0), *trades((0, 11), (5.5, 11), (7.4, 11))], held) == []


@pytest.mark.parametrize(
    ("condition", "fires"),
    [
        pytest.param(when("last", "changes_by", 1, window_s=8), [], id="a change, whose window began anew"),
        pytest.param(when("last", ">", 105), [(1, True)], id="a value that is seen again"),
        pytest.param(when("last", "crosses_above", 105), [], id="a crossing of yesterday"),
    ],
)
def test_what_held_yesterday_is_not_said_to_hold_today_before_it_was_seen(
    condition: Condition, fires: list[tuple[int, bool]]
) -> None:
    at = [1, 19, *(20.5 + half / 2 for half in range(12))]  # the second session begins at 20
    events = [
        Trade(
            symbol="B",
            venue="X",
            seq=n,
            ts_event=(now := BASE + round(s * NS)),
            ts_ingest=now,
            price=100 + 10 * (n > 0),
            size=1,
        )
        for n, s in enumerate(at)
    ]
    told = turns(events, rule("r", condition, dwell_s=3))
    assert [(number - 7, fired) for number, fired in told] == fires


def test_cool_down_holds_a_rule_back_and_lets_it_fire_once_it_is_over() -> None:
    rare = rule("r", when("last", ">", 10), cool_down_s=5)
    prices = trades((0, 11), (1, 9), (2, 11), (3, 9), (4, 11), (5, 11), (6, 9), (9.9, 11))
    assert turns([*prices, beat(10)], rare) == [(0, True), (1, False), (5, True), (6, False), (8, True)]


def test_what_is_not_a_number_neither_fires_nor_clears() -> None:
    at = BASE + NS
    news: Event = NewsSignal(symbol="A", venue="W", seq=1, ts_event=at, ts_ingest=at, sentiment=0.5, item_id="n")
    sized = rule("r", when("trade_size", ">", 0.5))
    assert turns([*trades((0, 11)), news, *trades((2, 9))[:0]], sized) == [(0, True)]


def test_what_news_ahead_of_the_market_has_fired_holds_nothing_back_that_the_market_says() -> None:
    """A recording of earlier is played beside a wire that is live: the first news is of the day's last minute."""
    day = 86_400 * NS
    at = (BASE // day + 1) * day - 60 * NS
    news: Event = NewsSignal(symbol="A", venue="W", seq=1, ts_event=at, ts_ingest=at, sentiment=0.5, item_id="n")
    either = (when("session_frac", ">", 0.95), when("last", ">", 10))
    prices = trades((0, 9), (2, 11), (3, 9), (4, 11), (5, 9))
    expected_turns = [(0, True), (1, False), (2, True), (3, False), (4, True), (5, False)]
    assert turns([news, *prices], rule("r", *either, match="any", cool_down_s=0.5)) == expected_turns


def test_all_and_any_join_conditions_that_keep_their_state() -> None:
    both = (when("last", ">", 10), when("bar.1s.close", "<", 11))
    prices = trades((0, 10.5), (2.1, 10.5), (2.2, 9), (2.3, 12), (4.5, 12))
    assert turns(prices, rule("r", *both)) == [(1, True), (2, False), (3, True), (4, False)]
    assert turns(prices, rule("r", *both, match="any")) == [(0, True)]


def test_a_venue_and_an_expiry_limit_what_a_rule_watches() -> None:
    assert turns(trades((0, 11)), rule("r", when("last", ">", 10), venue="V")) == [(0, True)]
    assert turns(trades((0, 11)), rule("r", when("last", ">", 10), venue="X")) == []
    assert turns(trades((0, 11)), rule("r", when("last", ">", 10), symbols=("B",))) == []
    over = rule("r", when("last", ">", 10), expires=BASE + 2 * NS)
    assert turns(trades((0, 11), (1, 9), (2, 11)), over) == [(0, True), (1, False)]


def test_a_changed_rule_remembers_nothing_and_a_removed_one_says_nothing() -> None:
    crossing = rule("r", when("last", "crosses_above", 10))
    change = control(RuleChange(action="change", id="r", rule=crossing, by="me"))
    remove = control(RuleChange(action="remove", id="r"))
    prices = trades((0, 9), (1, 11), (2, 9), (3, 11), (4, 9), (5, 11))
    outputs = fold([*added(crossing), *prices[:1], change, *prices[1:4], remove, *prices[4:]])
    assert [(each[0], each[3]) for each in said(outputs)] == [(5, True)]
    turned = [(each.action, each.rev, each.refused) for o in outputs for each in o.rule_changes]
    assert turned == [("add", 1, ""), ("change", 2, ""), ("remove", 0, "")]


def test_a_change_that_cannot_be_is_refused_and_says_why() -> None:
    good = rule("r", when("last", ">", 1))
    bad = [
        RuleChange(action="add", id="r", rule=good), RuleChange(action="remove", id="x"),
        RuleChange(action="change", id="x", rule=rule("x", when("last", ">", 1))),
        RuleChange(action="add", id="y", rule=good), RuleChange(action="add", id="y"),
        RuleChange(action="add", id="y", rule=rule("y", when("volatility_61s", ">", 1), when("bar.2m.close", ">", 1))),
        RuleChange(action="add", id="y", rule=rule("y", when("mid", "z_score", 2), when("outcome.brier", ">", 1))),
    ]  # fmt: skip
    noise = Control(
        topic="rules", id="z", ts_event=START, ts_ingest=START, body='{"action": "add", "id": "z", "rule": 1}'
    )
    outputs = fold([*added(good), *(control(each) for each in bad), noise])
    told = [each.refused for o in outputs for each in o.rule_changes]
    assert told[:6] == [
        "", "r stands already; change it, or choose another id", "no rule x stands", "no rule x stands",
        "rule: expected the rule y, found r", "rule: expected the rule y, found none",
    ]  # fmt: skip
    assert "conditions[0].field: expected a feature" in told[6]
    assert "did you mean volatility_60s?" in told[6]
    assert "conditions[1].field: expected bar.KIND.FIELD with KIND of 1s 1m 5m" in told[6]
    assert "conditions[0].window_s: expected 1 to 86400 seconds for z_score, was 0" in told[7]
    assert "conditions[1].last: expected 1 to 1000 outcomes for outcome.brier, was 0" in told[7]
    assert told[8] == "no change of a rule: Expected `object | null`, got `int` - at `$.rule`"
    heavy = rule("heavy", *[when("outcome.brier", ">", 1, last=1_000)] * 4)
    (held,) = fold(added(heavy, msgspec.structs.replace(heavy, id="more")))
    assert held.rule_changes[0].refused == ""
    assert held.rule_changes[1].refused.startswith("with more the rules would remember 16.1 million numbers")
    many = fold(added(*(rule(f"r{n}", when("last", ">", 1)) for n in range(MOST_RULES + 1))))
    assert [each.refused for o in many for each in o.rule_changes][-1] == "256 rules stand already; remove one"


MANY = [
    rule("level", when("mid", ">", 60, hysteresis=0.05)), rule("dwell", when("spread", ">", 4e-4), dwell_s=1.5),
    rule("change", when("mid", "changes_by", -4e-4, window_s=5, relative=True), cool_down_s=3),
    rule("z", when("mid", "z_score", 1.87, window_s=20, hysteresis=0.6), symbols=("S0", "S3")),
    rule("bars", when("bar.1s.volume", "crosses_above", 300), when("volatility_60s", ">", 1e-5)),
    rule("hits", when("outcome.hit_rate", ">", 0.45, last=8), when("outcome.log_return", "<", -1e-4, last=3), match="any"),
    rule("scores", when("score.p_up", ">", 0.5), when("score.online", "<", 0.5001), venue="SIM", dwell_s=0.3),
    rule("none", when("score.nobody", ">", 0)),
]  # fmt: skip
EVENTS = market(3_000)
LOG = [*EVENTS[:50], *added(*MANY), *EVENTS[50:]]


def test_every_sort_of_rule_says_what_its_words_say() -> None:
    (output,) = fold(LOG)
    found = said([output])
    assert same(found, expected({50 + n: each for n, each in enumerate(MANY)}, output, KINDS))
    told = {each[1]: 0 for each in found}
    for each in found:
        told[each[1]] += 1
    assert set(told) == {each.id for each in MANY} - {"none"}
    assert min(told.values()) > 4, told


def test_rules_change_no_bit_of_anything_else() -> None:
    without = [e for e in LOG if not (isinstance(e, Control) and e.topic == "rules")]
    (ruled,), (bare,) = fold(LOG), fold(without)
    assert ruled.features.tobytes() == bare.features.tobytes()
    assert ruled.scores.by_model.tobytes() == bare.scores.by_model.tobytes()
    assert ruled.bars.numbers.tobytes() == bare.bars.numbers.tobytes()
    assert ruled.outcomes.label.tobytes() == bare.outcomes.label.tobytes()
    assert not bare.alerts
    assert len(ruled.alerts) > 50


WHOLE = said(fold(LOG))


@given(st.lists(st.integers(0, len(LOG)), max_size=10))
@settings(max_examples=15, deadline=None)
def test_any_split_of_the_log_says_the_same_alerts(cuts: list[int]) -> None:
    assert said(fold(LOG, cuts)) == WHOLE


@pytest.mark.parametrize("at", [52, 55, 700, 1_999])
def test_a_snapshot_goes_on_with_the_same_alerts_and_does_not_show_where_the_log_was_cut(at: int) -> None:
    first = shard()
    before = fold(LOG[:at], on=first)
    raw = first.snapshot()
    after = fold(LOG[at:], on=shard(raw), first=at)
    assert said([*before, *after]) == WHOLE
    assert shard(raw).snapshot() == raw
    other = shard()
    fold(LOG[:at], range(1, at, 7), on=other)
    assert other.snapshot() == raw


@given(small_logs(), small_rules(), st.integers(0, 60), st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=120, deadline=None)
def test_rules_of_any_sort_on_any_log_say_what_their_words_say(
    log: list[Event], drawn: Rule, place: int, cuts: list[int]
) -> None:
    place = min(place, len(log))
    events = [*log[:place], *added(drawn), *log[place:]]
    (output,) = fold(events)
    found = said([output])
    assert same(found, expected({place: drawn}, output, KINDS))
    assert said(fold(events, [min(cut, len(events)) for cut in cuts])) == found


def test_alerts_of_one_record_come_in_the_order_of_symbol_and_rule() -> None:
    names = [rule("b", when("last", ">", 10)), rule("a", when("last", ">", 10))]
    assert [each[1] for each in said(fold([*added(*names), *trades((0, 11))]))] == ["b", "a"]


def test_a_rule_reads_back_as_it_was_written() -> None:
    change = RuleChange(action="add", id="z", rule=MANY[3], by="me", why="because")
    assert msgspec.json.decode(body_of_rule(change), type=RuleChange) == change
    assert isinstance(WHOLE[0], tuple), Said
