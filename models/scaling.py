"""River's scaler and clip, made safe for market data.

River 0.26's `StandardScaler.learn_many` takes the variance as E[x²] − E[x]², which cancels (a constant 1,000,000.1 gets
variance 0.0027, and another constant a negative one), turns to NaN for ever at the first missing value, and lets one
absurd print blow up the scale for as long as the stream lives.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pandas as pd
from river import base, preprocessing

from models.model import Column, Matrix

SENSIBLE: Final = 1e12
"""A feature beyond this is a fault, not a value: it never enters a mean or a variance."""
WINSOR: Final = 20.0
"""Values farther than this many deviations from the mean enter mean and variance as if they were that far."""
MAD_TO_STD: Final = 1.4826
NOISE: Final = 1e-9
"""A deviation smaller than this fraction of the mean is rounding: the feature counts as constant."""


class MarketScaler(preprocessing.StandardScaler):
    """Standard scores from a running mean and population variance (ddof = 0), as River's own, of the values present.

    A missing value (NaN or infinite) is not counted and stays NaN; a feature without variance scores 0.
    On complete rows without outliers the statistics equal River's `StandardScaler`.
    """

    def learn_many(self, X: pd.DataFrame) -> None:  # noqa: N803
        """Merge a batch `[n, F]` into the running statistics."""
        names, values = list(X.columns), X.to_numpy(dtype=np.float64)
        means, variances = _gather(self.means, names), _gather(self.vars, names)
        values = _winsorised(values, means, variances)
        present = ~np.isnan(values)
        new = present.sum(axis=0)
        old = np.array([self.counts[name] for name in names], dtype=np.int64)
        total = np.maximum(old + new, 1)
        divisor = np.maximum(new, 1)
        new_means = np.where(present, values, 0.0).sum(axis=0) / divisor
        new_variances = (np.where(present, values - new_means, 0.0) ** 2).sum(axis=0) / divisor
        a, b = old / total, new / total
        merged = a * variances + b * new_variances + a * b * (means - new_means) ** 2
        means = a * means + b * new_means
        merged[merged <= (NOISE * means) ** 2] = 0.0
        self._store(names, old + new, means, merged)

    def _store(self, names: list[str], counts: Iterable[int], means: Column, variances: Column) -> None:
        for name, count, mean, variance in zip(names, counts, means, variances, strict=True):
            self.counts[name], self.means[name], self.vars[name] = int(count), float(mean), float(variance)

    def transform_many(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803
        """Standard scores `[n, F]`; NaN where the value is missing."""
        names, values = list(X.columns), X.to_numpy(dtype=np.float64)
        deviations = np.sqrt(_gather(self.vars, names))
        values = np.where(np.isfinite(values), values, np.nan) - _gather(self.means, names)
        with np.errstate(over="ignore"):
            scores = np.divide(values, deviations, out=np.zeros_like(values), where=deviations > 0.0)
        return pd.DataFrame(scores, columns=names)

    def transform_one(self, x: dict[str, float]) -> dict[str, float]:
        """Standard scores of one row; NaN where the value is missing."""
        present = {name: value if math.isfinite(value) else math.nan for name, value in x.items()}
        scores: dict[str, float] = super().transform_one(present)
        return scores


class Clip(base.MiniBatchTransformer):
    """Cuts standard scores at ±`limit`, and gives a missing one the score of the mean, 0."""

    def __init__(self, limit: float = 8.0) -> None:
        self.limit = limit

    def transform_many(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803
        """`[n, F]` scores within ±`limit`."""
        scores: Matrix = X.to_numpy(dtype=np.float64)
        inside = np.clip(np.where(np.isnan(scores), 0.0, scores), -self.limit, self.limit)
        return pd.DataFrame(inside, columns=list(X.columns))

    def transform_one(self, x: dict[str, float]) -> dict[str, float]:
        """One row of scores within ±`limit`."""
        return {k: 0.0 if math.isnan(v) else min(max(v, -self.limit), self.limit) for k, v in x.items()}


def _gather(statistics: Any, names: list[str]) -> Column:
    return np.array([statistics[name] for name in names], dtype=np.float64)


def _winsorised(values: Matrix, means: Column, variances: Column) -> Matrix:
    """NaN where a value is missing or absurd; the others no farther than `WINSOR` deviations from the centre.

    A feature that has no scale yet takes centre and scale from the batch itself: median and median deviation.
    """
    sensible = np.where(np.abs(values) <= SENSIBLE, values, np.nan)
    centres, scales = means.copy(), np.sqrt(variances)
    for column in np.flatnonzero(scales == 0.0):
        present = sensible[:, column][~np.isnan(sensible[:, column])]
        if len(present):
            centres[column] = np.median(present)
            scales[column] = MAD_TO_STD * np.median(np.abs(present - centres[column]))
    reach = np.where(scales > 0.0, WINSOR * scales, np.inf)
    return np.clip(sensible, centres - reach, centres + reach)
