"""A challenger is promoted when it wins with confidence on live outcomes, and by chance hardly ever."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.confidence import FEWEST, Sequence
from models.drift import NS, Block
from models.promotion import Trial, TrialRules
from schemas.drift import Verdict
from tests.models.quiet_market import WEIGHTS, day, sigmoid
from tests.models.test_loss_drift import even_block

RULES = TrialRules(least_labels=1000)
FIVE_MINUTES = 300 * NS


def verdict(blocks: "list[Block]", rules: TrialRules = RULES) -> Verdict | None:
    trial = Trial(champion="m1", challenger="c1")
    return next((found for block in blocks if (found := trial.fold(block, rules))), None)


def paired(gain: float, minutes: int, seed: int, noise: float = 0.05) -> list[Block]:
    """A rival whose log loss is lower by `gain` on average, with noise in every row."""
    rng = np.random.default_rng(seed)
    return [
        replace(block, rival=np.exp(-np.maximum(1e-3, -np.log(block.score) - rng.normal(gain, noise, 10))))
        for block in (even_block(minute, np.full(10, 0.7)) for minute in range(minutes))
    ]


def test_a_challenger_that_wins_is_promoted_with_its_evidence() -> None:
    found = verdict(paired(0.01, 1000, 1))
    assert found is not None
    assert (found.kind, found.champion, found.challenger) == ("promote", "m1", "c1")
    assert found.labels >= RULES.least_labels
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.gain < found.high
    assert found.labels == found.blocks * 50


def test_a_challenger_that_loses_is_rejected() -> None:
    found = verdict(paired(-0.02, 1000, 2))
    assert found is not None
    assert found.kind == "reject"
    assert found.high is not None
    assert found.high < 0


def test_an_equal_challenger_looked_at_for_days_is_promoted_no_more_often_than_stated() -> None:
    """200 trials of 1,440 looks: at 5 % stated, 17 or more would be a chance of 1 in 42. Plain intervals fail this."""
    rng = np.random.default_rng(3)
    wrong = peeking = 0
    for _ in range(200):
        sequence, over, fooled = Sequence(), False, False
        for value in rng.standard_t(4, 1440):
            sequence.add(float(value))
            over |= sequence.mean > sequence.radius(0.05)
            plain = 1.96 * (sequence.squares / max(1, sequence.n - 1) / sequence.n) ** 0.5
            fooled |= sequence.n >= FEWEST and sequence.mean > plain
        wrong, peeking = wrong + over, peeking + fooled
    assert wrong < 17
    assert peeking > 34, "the ordinary interval, looked at as often, is wrong in more than a sixth"


def test_the_sequence_has_the_mean_and_deviation_of_its_values() -> None:
    values = np.random.default_rng(4).normal(5, 2, 500)
    sequence = Sequence()
    for value in values.tolist():
        sequence.add(value)
    assert sequence.mean == pytest.approx(values.mean())
    assert sequence.squares / 499 == pytest.approx(values.var(ddof=1))


def test_nobody_wins_before_there_are_enough_labels() -> None:
    assert verdict(paired(0.5, 5 * FEWEST - 10, 5)) is None
    late = verdict(paired(0.5, 1200, 5), TrialRules(least_labels=9_000))
    assert late is not None
    assert 9_000 <= late.labels < 9_100


def test_a_gain_that_is_not_worth_an_exchange_does_not_promote() -> None:
    assert verdict(paired(0.01, 2000, 6), TrialRules(least_labels=1000, least_gain=0.02)) is None


def test_what_is_undecided_in_the_end_is_left_to_a_person() -> None:
    rules = TrialRules(least_labels=1000, longest_ns=10 * 3600 * NS)
    found = verdict(paired(0.0, 1000, 7), rules)
    assert found is not None
    assert found.kind == "undecided"
    assert found.ts_event == 10 * 3600 * NS


def test_only_outcomes_that_both_have_scored_count() -> None:
    blocks = paired(0.01, 1000, 8)
    for block in blocks:
        block.rival[:9] = np.nan
        block.score[9] = np.nan
    assert verdict(blocks) is None


def test_a_model_that_knows_a_flipped_sign_wins_on_labels_drawn_from_it() -> None:
    flipped = WEIGHTS * np.array([1.0, -1.0, 1.0, 1.0])
    live = day(5, minutes=600, meaning=flipped)
    found = verdict(list(live.blocks(rival=sigmoid(live.features @ flipped))))
    assert found is not None
    assert found.kind == "promote"
    back = verdict(list(day(5, minutes=600).blocks(rival=sigmoid(live.features @ flipped))))
    assert back is not None
    assert back.kind == "reject"


def test_a_trial_saved_after_any_block_ends_with_the_same_verdict() -> None:
    blocks = paired(0.01, 1000, 9)
    expected = verdict(blocks)
    trial, found = Trial(champion="m1", challenger="c1"), None
    for block in blocks:
        trial = msgspec.msgpack.decode(msgspec.msgpack.encode(trial), type=Trial)
        found = trial.fold(block, RULES)
        if found is not None:
            break
    assert found == expected
