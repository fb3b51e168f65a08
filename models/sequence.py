"""The last feature vectors of a symbol side by side: what a model sees that looks back. Needs the extra `train`.

A network whose first layer takes such a window is a causal convolution as wide as the window, at its last place: the same
weights go over every row, and see nothing after it.
"""

from typing import Final

import msgspec
import numpy as np
from numba import njit

from models.dataset import Dataset
from models.manifest import About
from models.model import Matrix

WINDOW: Final = 8
"""Vectors, the row's own included; they are sampled as its predictions are, a second apart or more."""


def windows(dataset: Dataset, width: int = WINDOW) -> Matrix:
    """float64 `[n, width · F]`: the row's own vector, then the one before it of its symbol, and so on; NaN before the first."""
    rows = np.empty((len(dataset), width), np.int64)
    _last_rows(dataset.symbol, np.full((len(dataset.symbols), width), -1, np.int64), rows)
    seen = np.where((rows >= 0)[:, :, None], dataset.features[rows], np.nan)
    return seen.reshape(len(dataset), -1)


def windowed(about: About, width: int = WINDOW) -> About:
    """What the columns of `windows` mean."""
    names = tuple(f"{name}[{-back}]" for back in range(width) for name in about.features)
    return msgspec.structs.replace(about, features=names)


@njit(cache=True)
def _last_rows(symbol, newest, rows):  # type: ignore[no-untyped-def]
    width = rows.shape[1]
    for i in range(len(symbol)):
        mine = newest[symbol[i]]
        for back in range(width - 1, 0, -1):
            mine[back] = mine[back - 1]
        mine[0] = i
        for back in range(width):
            rows[i, back] = mine[back]
