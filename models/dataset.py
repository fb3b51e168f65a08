"""Matured predictions in order of time: what models are trained on and judged by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.model import Column, Matrix
from schemas.errors import TrainingError

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """n sampled predictions with one horizon, sorted by `ts`.

    features  float64 [n, F], NaN missing            label     float64 [n]: 1 up, 0 down, 0.5 within the dead band
    returns   float64 [n], log, over the horizon     ts        int64 [n], ns: event time of the prediction
    symbol    int64 [n], a row of `symbols`          names     of the features' columns
    """

    features: Matrix
    label: Column
    returns: Column
    ts: Integers
    symbol: Integers
    symbols: Sequence[str]
    names: Sequence[str]
    horizon_ns: int

    def __post_init__(self) -> None:
        n = len(self.ts)
        shapes = {len(self.features), len(self.label), len(self.returns), len(self.symbol), n}
        if shapes != {n} or self.features.ndim != 2 or self.features.shape[1] != len(self.names):
            raise TrainingError(
                f"expected {n} rows of {len(self.names)} features, labels, returns and symbols, got features "
                f"{self.features.shape}, {len(self.label)} labels, {len(self.returns)} returns, {len(self.symbol)} symbols"
            )
        if n and (np.diff(self.ts) < 0).any():
            raise TrainingError("a dataset is sorted by the time of the prediction; sort it first")

    def __len__(self) -> int:
        return len(self.ts)

    def taken(self, rows: Integers | NDArray[np.bool_] | slice) -> "Dataset":
        """These rows; they must stay in order."""
        return Dataset(
            self.features[rows], self.label[rows], self.returns[rows], self.ts[rows], self.symbol[rows],
            self.symbols, self.names, self.horizon_ns,
        )  # fmt: skip

    @property
    def moved(self) -> NDArray[np.bool_]:
        """Where the price left the dead band: the rows that have a direction."""
        return np.asarray(self.label != 0.5)
