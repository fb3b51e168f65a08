"""Drift leads to one training and no more; a fall of the scoreboard does too; what comes of it is a challenger."""

import msgspec
import numpy as np
import pytest

from models.drift import DAY_NS, NS
from models.retraining import RetrainRules, Scoreboard, Standing
from schemas.drift import Declined, DriftSignal, Fall, RetrainOrder
from tests.models.test_loss_drift import even_block

HOUR = 3600 * NS
RULES = RetrainRules(cool_down_ns=6 * HOUR, per_day=2)
NOON = 10 * DAY_NS + 12 * HOUR


def signal(at: int) -> DriftSignal:
    return DriftSignal(
        id=f"s{at}", kind="input", test="psi", symbol="*", what="spread", model="m1", ts_event=at, start=at - HOUR,
        statistic=0.9, threshold=0.4, p_value=1e-9, tested=8, affected=("A", "B"), affected_n=2, rows=900,
    )  # fmt: skip


def ordered(standing: Standing, at: int, rules: RetrainRules = RULES) -> Standing:
    after, told = standing.consider([signal(at)], "m1", at, rules)
    assert isinstance(told, RetrainOrder)
    return after


def declined(standing: Standing, at: int, rules: RetrainRules = RULES) -> str:
    after, told = standing.consider([signal(at)], "m1", at, rules)
    assert isinstance(told, Declined)
    assert after == standing
    return told.why


def test_several_signals_at_once_make_one_order_of_a_challenger_with_their_evidence() -> None:
    standing, order = Standing().consider([signal(NOON), signal(NOON + 1)], "m1", NOON, RULES)
    assert isinstance(order, RetrainOrder)
    assert standing.pending == order
    assert order.role == "challenger"
    assert order.evidence == (f"s{NOON}", f"s{NOON + 1}")
    assert order.reasons[0] == "input spread of *: psi 0.9 > 0.4"
    assert msgspec.json.decode(msgspec.json.encode(standing), type=Standing) == standing


def test_nothing_noticed_changes_nothing() -> None:
    assert Standing().consider([], "m1", NOON, RULES) == (Standing(), None)


def test_no_order_while_one_is_being_carried_out_or_its_challenger_is_on_trial() -> None:
    standing = ordered(Standing(), NOON)
    assert "is being carried out" in declined(standing, NOON + 9 * HOUR)
    assert declined(standing.registered("c1"), NOON + 9 * HOUR) == "challenger c1 is on trial"


def test_the_cool_down_outlasts_the_trial_and_ends_exactly() -> None:
    standing = ordered(Standing(), NOON).registered("c1").judged()
    assert declined(standing, NOON + 6 * HOUR - NS) == "the cool-down lasts 1 s more"
    ordered(standing, NOON + 6 * HOUR)


def test_an_order_that_made_nothing_still_costs_its_cool_down() -> None:
    assert "cool-down" in declined(ordered(Standing(), NOON).registered(""), NOON + HOUR)


def test_the_budget_is_of_a_day_and_new_the_next() -> None:
    rules = RetrainRules(cool_down_ns=HOUR, per_day=2)
    standing = Standing()
    for at in (NOON, NOON + 2 * HOUR):
        standing = ordered(standing, at, rules).registered("")
    assert declined(standing, NOON + 4 * HOUR, rules) == "2 of 2 trainings were ordered today"
    tomorrow = ordered(standing, NOON + DAY_NS, rules)
    assert tomorrow.ordered == (NOON + DAY_NS,)


def test_the_same_order_made_again_has_the_same_id() -> None:
    first, again = (Standing().consider([signal(NOON)], "m1", NOON, RULES)[1] for _ in range(2))
    assert first == again


def fall_after(loss: float, promised: float, blocks: int, seed: int = 0) -> Fall | None:
    rng = np.random.default_rng(seed)
    board, found = Scoreboard(), None
    for minute in range(blocks):
        told = board.fold(even_block(minute, rng.normal(loss, 0.05, 30)), "m1", promised, RULES)
        assert not (told and found), "told once"
        found = found or told
    return found


def test_a_scoreboard_that_keeps_its_promise_does_not_fall() -> None:
    assert not any(fall_after(0.65, 0.65, 1440, seed) for seed in range(20))


def test_a_scoreboard_that_is_certainly_worse_than_promised_falls_once_and_says_by_how_much() -> None:
    fall = fall_after(0.70, 0.65, 1440)
    assert fall is not None
    assert fall.promised + RULES.fall < fall.low < fall.log_loss
    assert fall.log_loss == pytest.approx(0.70, abs=0.01)
    _, order = Standing().consider([fall], "m1", NOON, RULES)
    assert isinstance(order, RetrainOrder)
    assert "promised 0.6500" in order.reasons[0]


def test_a_promise_over_rows_is_held_against_rows_however_many_a_block_has() -> None:
    promised, board = (200 * 0.60 + 10 * 0.70) / 210, Scoreboard()  # a mean of the blocks would be 0.65
    rng = np.random.default_rng(3)
    for minute in range(1440):
        losses = rng.normal(0.60, 0.05, 200) if minute % 2 else rng.normal(0.70, 0.05, 10)
        assert board.fold(even_block(minute, losses), "m1", promised, RULES) is None


def test_where_nothing_was_promised_nothing_falls() -> None:
    assert fall_after(0.9, float("nan"), 300) is None
