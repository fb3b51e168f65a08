"""Baselines know what they say they know, and nothing later."""

from dataclasses import replace

import numpy as np
import pytest

from models.baselines import UNKNOWN, base_rate, baselines, last_moves, last_sign, logistic
from models.walk_forward import split_at
from schemas.errors import TrainingError
from tests.models.datasets import NS, START, dataset

MARKET = dataset(1_200, symbols=3, hint=0.8)


def test_the_last_move_is_the_newest_whose_horizon_was_over() -> None:
    found = last_moves(MARKET)
    cells = {0.0: 0, 0.5: 1, 1.0: 2}
    for i in range(0, len(MARKET), 7):
        over = [
            j for j in range(i) if MARKET.symbol[j] == MARKET.symbol[i] and MARKET.ts[j] + 10 * NS < MARKET.ts[i]
        ]  # fmt: skip
        assert found[i] == (cells[MARKET.label[over[-1]]] if over else UNKNOWN)


def test_a_future_label_changes_no_earlier_last_move() -> None:
    altered = replace(MARKET, label=np.where(MARKET.ts >= START + 600 * NS, 1.0 - MARKET.label, MARKET.label))
    before = MARKET.ts <= START + 610 * NS
    assert last_moves(altered)[before].tolist() == last_moves(MARKET)[before].tolist()
    assert last_moves(altered).tolist() != last_moves(MARKET).tolist()


def test_last_sign_says_how_often_it_went_up_after_such_a_move() -> None:
    scores, cell = last_sign(MARKET)(MARKET), last_moves(MARKET)
    habit = MARKET.label[MARKET.moved].mean()
    for number in range(4):
        here = MARKET.moved & (cell == number)
        expected = (MARKET.label[here].sum() + habit) / (here.sum() + 1)
        assert scores[cell == number] == pytest.approx(np.full((cell == number).sum(), expected))


def test_the_base_rate_is_the_past_share_of_ups_whatever_comes() -> None:
    split = split_at(MARKET, START + 800 * NS)
    past, after = MARKET.taken(split.train), MARKET.taken(split.test)
    assert set(base_rate(past)(after).tolist()) == {past.label[past.moved].mean()}


def test_the_line_ignores_missing_and_absurd_values() -> None:
    features = MARKET.features.copy()
    features[5, 1], features[6, 2] = 1e300, np.inf
    scores = logistic(replace(MARKET, features=features))(replace(MARKET, features=np.full_like(features, np.nan)))
    assert ((scores > 0.0) & (scores < 1.0)).all()
    assert len(set(scores.tolist())) == 1


def test_a_past_in_which_everything_rose_teaches_nothing_and_is_refused() -> None:
    risen = replace(MARKET, label=np.ones(len(MARKET)))
    for candidate in baselines()[1:]:
        with pytest.raises(TrainingError, match="not both up and down"):
            candidate.fit(risen)
    assert set(baselines()[0].fit(risen)(risen).tolist()) == {0.5}
