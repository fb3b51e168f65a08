"""Drift: what the detectors are given, and how often they may be wrong.

Detectors are folds over blocks: all rows that matured in one minute of event time, in an order that does not depend on how
they arrived. The same blocks give the same signals.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from models.model import Column, Matrix

NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * NS
LEAST_P: Final = 1e-3
"""Scores nearer to 0 or 1 count as this near: one row may not cost more than 6.9."""
NAMED: Final = 20


class DriftRules(Struct, frozen=True, kw_only=True):
    """How closely is watched, and the price of it.

    `false_alarms_per_day` is the probability that anything at all is signalled on a day on which nothing drifts, all symbols,
    features and detectors together: half of it for inputs and scores, a quarter each for the two tests of the loss.
    """

    block_ns: Annotated[int, Meta(gt=0)] = 60 * NS
    false_alarms_per_day: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    least_index: Annotated[float, Meta(ge=0)] = 0.2
    """A smaller PSI is not worth a signal, however certain it is."""
    baseline_blocks: Annotated[int, Meta(ge=30)] = 120
    """From so many blocks of a series it is learnt what its loss usually is; it is not judged before."""
    least_labels: Annotated[int, Meta(ge=1)] = 20
    """A block of a series with fewer labels that moved is left out."""


def signal_id(*parts: object) -> str:
    """Sixteen hex digits."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Block:
    """All n rows that matured in `[start_ns, end_ns)`, sorted by symbol, then by the time of the prediction.

    symbol    int64 [n], a row of `symbols`, which are sorted
    features  float64 [n, F], in the order of the reference, NaN missing    known  bool [n]: whether features were found
    label     float64 [n]: 1 up, 0 down, 0.5 within the dead band
    score     float64 [n], of the watched model, NaN none                   rival  of the challenger
    """

    start_ns: int
    end_ns: int
    symbols: Sequence[str]
    symbol: NDArray[np.int64]
    features: Matrix
    known: NDArray[np.bool_]
    label: Column
    score: Column
    rival: Column

    def losses(self, score: Column) -> Column:
        """Log loss of each row, NaN where it has no direction or no score."""
        p = np.clip(score, LEAST_P, 1 - LEAST_P)
        with np.errstate(invalid="ignore"):
            loss: Column = -np.log(np.where(self.label == 1.0, p, 1 - p))
        loss[self.label == 0.5] = np.nan
        return loss
