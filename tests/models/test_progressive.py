"""The online model in an evaluation: it predicts first, learns what is over, and equals itself whatever comes later."""

from dataclasses import replace

import numpy as np

from models.online import OnlineModel
from models.progressive import learnt, predict_then_learn
from tests.models.datasets import NS, START, dataset

MARKET = dataset(1_500, hint=0.8)
STEP = 64


def test_every_row_is_scored_by_the_model_that_had_learnt_all_whole_steps_that_were_over() -> None:
    found = predict_then_learn(MARKET, OnlineModel(MARKET.names), step=STEP)
    rows = np.flatnonzero(MARKET.moved)
    for i in range(0, len(MARKET), 191):
        over = rows[MARKET.ts[rows] + 10 * NS < MARKET.ts[i]]
        model = OnlineModel(MARKET.names)
        for start in range(0, len(over) // STEP * STEP, STEP):
            lesson = over[start : start + STEP]
            model.learn(MARKET.features[lesson], MARKET.label[lesson])
        assert found[i] == model.score(MARKET.features[i : i + 1])[0]


def test_later_labels_change_no_earlier_score() -> None:
    border = START + 700 * NS
    altered = replace(MARKET, label=np.where(MARKET.ts >= border, 1.0 - MARKET.label, MARKET.label))
    one, other = (predict_then_learn(each, OnlineModel(MARKET.names), step=STEP) for each in (MARKET, altered))
    before = MARKET.ts <= border + MARKET.horizon_ns
    assert np.array_equal(one[before], other[before])
    assert not np.array_equal(one, other)


def test_a_warm_start_is_the_state_of_having_learnt_the_same_rows_and_goes_on_bit_for_bit() -> None:
    past, after = MARKET.taken(slice(0, 2_000)), MARKET.taken(slice(2_000, None))
    warm = learnt(past, step=STEP)
    assert (warm.steps, warm.rows) == (int(past.moved.sum()) // STEP, int(past.moved.sum()) // STEP * STEP)
    restored = OnlineModel.restore(warm.snapshot(), MARKET.names)
    assert np.array_equal(predict_then_learn(after, warm, step=STEP), predict_then_learn(after, restored, step=STEP))
