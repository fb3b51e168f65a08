"""A back-test says what live then says on the same stretch: the same alerts, with the same ids."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from processors.columns import LogStretch
from processors.features import FEATURES_ID
from processors.labels import LabelRule
from processors.rule_fields import needs_scores
from processors.shard import FoldRules, Shard
from schemas.backtest import Backtest
from schemas.events import Control, Event
from schemas.rows import Alert
from schemas.rules import Condition, Rule, RuleChange, body_of_rule, plain
from streams.backtest import Trial
from streams.model_runs import ModelRuns, Run
from streams.nightly import Unlearnt
from streams.rule_rows import alerts_of
from tests.fakes import ConstantModel, CountingLearner
from tests.logs import START, market, stretch

LOG = "test-log"
RULES = FoldRules(label=LabelRule(horizon_ns=2 * 10**9, every_ns=10**9), learn_every=16)
CHANGES = Condition(field="mid", op="changes_by", threshold=4e-4, window_s=5.0, relative=True, hysteresis=2e-4)
RULE = Rule(id="r", conditions=(CHANGES,), dwell_s=0.5, cool_down_s=20, owner="desk", severity="warning")
SCORED = Rule(
    id="s", match="any", cool_down_s=2,
    conditions=(
        Condition(field="score.p_up", op=">", threshold=0.6), Condition(field="score.online", op="<", threshold=0.49999),
        Condition(field="outcome.hit_rate", op="<", threshold=0.5, last=6),
    ),
)  # fmt: skip
EVENTS = market(3_000)
FENCE = 700


def live(rule: Rule, end: int) -> list[Alert]:
    """What a flow says of the log in which the rule is added at FENCE, in polls of 53."""
    change = RuleChange(action="add", id=rule.id, rule=rule)
    control = Control(topic="rules", id=rule.id, ts_event=START, ts_ingest=START, body=body_of_rule(change))
    log = [*EVENTS[:FENCE], control, *EVENTS[FENCE:]]
    shard = Shard(0, CountingLearner(), ConstantModel(), rules=RULES)
    outputs = [shard.advance(stretch(log[a:b], a)) for a, b in pairwise([*range(0, end, 53), end])]
    return [alert for output in outputs for alert in alerts_of(LOG, output)]


def stretches(log: Sequence[Event], end: int, size: int = 411) -> Iterator[LogStretch]:
    for a, b in pairwise([*range(0, end, size), end]):
        yield stretch(log[a:b], a)


def tried(rule: Rule, span: tuple[int, int], log: Sequence[Event], trial: Trial | None = None) -> Backtest:
    """A back-test of the log as it is, whatever rules were on it; scores only where the rule looks at them."""
    trial = trial or Trial(rule, LOG)
    if needs_scores(rule):
        models = ModelRuns([Run(0, "constant", FEATURES_ID)], lambda _: ConstantModel(), FEATURES_ID)
        trial.fold(Shard(0, CountingLearner(), None, rules=RULES), stretches(log, span[1]), span, models)
    else:
        trial.fold(Shard(0, Unlearnt(), None, rules=RULES), stretches(log, span[1]), span)
    return trial.result(1.0, ())


def with_fence(rule: Rule) -> list[Event]:
    """The log that live wrote: other controls stand where the rule was added."""
    change = RuleChange(action="add", id="other", rule=Rule(id="other", conditions=rule.conditions))
    control = Control(topic="rules", id="other", ts_event=START, ts_ingest=START, body=body_of_rule(change))
    return [*EVENTS[:FENCE], control, *EVENTS[FENCE:]]


@pytest.mark.parametrize("rule", [RULE, SCORED, plain(RULE)], ids=["held back", "of scores", "plain"])
@pytest.mark.parametrize("end", [1_500, len(EVENTS) + 1])
def test_a_back_test_says_what_live_then_fires_on_the_same_stretch(rule: Rule, end: int) -> None:
    said = live(rule, end)
    found = tried(rule, (FENCE + 1, end), with_fence(rule))
    assert sorted(said, key=lambda each: (each.ts_event, each.src_offset)) == list(found.alerts)
    assert found.fired == sum(each.state == "fired" for each in said) > 2
    assert (found.ranges, found.complete, found.records) == ({"0": (FENCE + 1, end)}, True, end)


def test_it_tells_how_often_the_rule_would_fire_if_nothing_held_it_back() -> None:
    end = len(EVENTS)
    held, free = tried(RULE, (0, end), EVENTS), tried(plain(RULE), (0, end), EVENTS)
    assert held.plain_fired == free.fired > held.fired > 0
    sentence = f"fired {free.fired} times, {held.fired} with this hysteresis and this dwell and this cool-down"
    assert (held.sentence, free.sentence) == (sentence, f"fired {free.fired} times")
    assert sum(held.by_symbol.values()) == held.fired


def test_it_stops_when_its_time_is_over_and_says_how_far_it_came() -> None:
    seen: list[int] = []

    def go_on(records: int) -> bool:
        seen.append(records)
        return len(seen) < 4

    found = tried(RULE, (100, 2_000), EVENTS, Trial(RULE, LOG, go_on))
    assert (found.complete, found.ranges) == (False, {"0": (100, 411 * 2)})


def test_only_the_first_alerts_are_kept_though_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    end = len(EVENTS)
    every = tried(plain(RULE), (0, end), EVENTS)
    monkeypatch.setattr("streams.backtest.MOST_ALERTS", 7)
    trial, most = Trial(plain(RULE), LOG), [0]

    def go_on(_: int) -> bool:
        most.append(len(trial.alerts))
        return True

    trial.go_on = go_on
    found = tried(plain(RULE), (0, end), EVENTS, trial)
    assert len(every.alerts) > 50
    assert list(found.alerts) == list(every.alerts)[:7]
    assert max(*most, len(trial.alerts)) < 14
    assert (found.fired, found.cleared, found.by_symbol) == (every.fired, every.cleared, every.by_symbol)


def test_a_stretch_without_records_says_nothing() -> None:
    found = tried(RULE, (500, 500), EVENTS)
    assert (found.fired, found.alerts, found.ranges) == (0, (), {"0": (500, 500)}) or found.alerts == []
