"""What an online model has learnt, as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.model import Column


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of F features: counts int64 [F]; means, population variances and weights float64 [F]; intercept; gradient steps so far."""

    counts: NDArray[np.int64]
    means: Column
    variances: Column
    weights: Column
    intercept: float
    iterations: int

    @classmethod
    def start(cls, width: int) -> "Numbers":
        """Nothing learnt."""
        return cls(np.zeros(width, np.int64), np.zeros(width), np.zeros(width), np.zeros(width), 0.0, 0)
