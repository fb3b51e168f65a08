"""River's part of an online model. Importing River takes a second: whoever only scores imports none of this."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from river import compose, linear_model, optim, utils

from models.model import Column, Matrix
from models.numbers import Numbers
from models.scaling import Clip, MarketScaler

SCALER, REGRESSION = "MarketScaler", "LogisticRegression"


class Rates(Protocol):
    """How fast is learnt; `models.online.OnlineSettings`."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def intercept_rate(self) -> float: ...
    @property
    def l2(self) -> float: ...
    @property
    def clip(self) -> float: ...


def pipeline_of(rates: Rates, names: Sequence[str], numbers: Numbers) -> compose.Pipeline:
    """`MarketScaler | Clip | LogisticRegression` that has learnt these numbers."""
    scaler = MarketScaler()
    regression = linear_model.LogisticRegression(
        optimizer=optim.SGD(rates.learning_rate), intercept_lr=rates.intercept_rate, l2=rates.l2
    )
    if numbers.iterations:
        scaler._store(list(names), numbers.counts.tolist(), numbers.means, numbers.variances)
        regression._weights = utils.VectorDict(dict(zip(names, numbers.weights.tolist(), strict=True)))
        regression.intercept = numbers.intercept
        regression.optimizer.n_iterations = numbers.iterations
    return compose.Pipeline(scaler, Clip(rates.clip), regression)


def learn(pipeline: compose.Pipeline, names: Sequence[str], features: Matrix, labels: Column) -> Numbers:
    """One gradient step on float64 rows `[n, F]` and their labels `[n]`; the numbers after it."""
    frame = pd.DataFrame(np.array(features, dtype=np.float64, order="C"), columns=list(names))
    with np.errstate(over="ignore"):  # exp of a very sure and wrong row: the gradient is 0 or 1, as it should be
        pipeline.learn_many(frame, pd.Series(np.array(labels, dtype=np.float64)))
    scaler, regression = pipeline[SCALER], pipeline[REGRESSION]
    weights = regression.weights
    return Numbers(
        counts=np.array([scaler.counts[name] for name in names], np.int64),
        means=np.array([scaler.means[name] for name in names]),
        variances=np.array([scaler.vars[name] for name in names]),
        weights=np.array([weights.get(name, 0.0) for name in names]),
        intercept=float(regression.intercept),
        iterations=regression.optimizer.n_iterations,
    )
