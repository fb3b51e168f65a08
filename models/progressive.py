"""The online model beside the trained ones: it predicts first and learns from what has come true since, as it does live."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.dataset import Dataset
from models.model import Column
from models.online import STEP_ROWS, OnlineModel

LEARN_EVERY: Final = STEP_ROWS


def learnt(dataset: Dataset, model: OnlineModel | None = None, *, step: int = LEARN_EVERY) -> OnlineModel:
    """The model after every row of `dataset` that has a direction, in whole steps: a warm start. Changes `model` if given."""
    model = OnlineModel(tuple(dataset.names)) if model is None else model
    rows = np.flatnonzero(dataset.moved)
    for start in range(0, len(rows) - step + 1, step):
        _learn(model, dataset, rows[start : start + step])
    return model


def predict_then_learn(dataset: Dataset, model: OnlineModel, *, step: int = LEARN_EVERY) -> Column:
    """P(up) of each row, float64 [n], by the model as it was then: it has learnt only labels that were over before the row.

    A label is over when its horizon has passed, and is learnt in steps of `step` rows with a direction.
    """
    rows = np.flatnonzero(dataset.moved)
    scores, start = np.empty(len(dataset)), 0
    for first in range(0, len(rows) - step + 1, step):
        lesson = rows[first : first + step]
        over = int(dataset.ts[lesson[-1]]) + dataset.horizon_ns
        stop = int(np.searchsorted(dataset.ts, over, side="right"))
        scores[start:stop] = model.score(dataset.features[start:stop])
        _learn(model, dataset, lesson)
        start = stop
    scores[start:] = model.score(dataset.features[start:])
    return scores


def _learn(model: OnlineModel, dataset: Dataset, rows: Sequence[int] | np.ndarray) -> None:
    model.learn(dataset.features[rows], dataset.label[rows])
