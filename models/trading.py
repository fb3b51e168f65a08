"""What a simple rule would have earned: the plainest test of whether a score is worth anything.

When a score is far enough from 0.5, take that side of the market at once for one horizon; one position a symbol at a time. It
buys at the ask and sells at the bid: the whole spread of the moment is its cost. No delay, no fees, no impact, any size: what
is real costs more, so a loss here is a loss, and a gain here is not yet one.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.dataset import Dataset
from models.model import Column
from schemas.errors import TrainingError

EDGE: Final = 0.1
SPREAD: Final = "spread"


@dataclass(frozen=True, slots=True)
class Trades:
    """Of n rows; a row without a trade has 0 everywhere.

    side   int8 [n], 1 bought, -1 sold      gross, net   float64 [n], log return of the position without and with costs
    """

    side: NDArray[np.int8]
    gross: Column
    net: Column

    @property
    def made(self) -> NDArray[np.bool_]:
        """Where a trade was made."""
        made: NDArray[np.bool_] = self.side != 0
        return made


def spread_of(dataset: Dataset) -> Column:
    """Ask less bid as a fraction of the mid at each row, float64 [n]: a round trip's cost; NaN where no quote was known."""
    if SPREAD not in dataset.names:
        raise TrainingError(f"the costs of a trade come from the feature {SPREAD!r}, which the dataset does not have")
    return np.ascontiguousarray(dataset.features[:, list(dataset.names).index(SPREAD)])


def traded(dataset: Dataset, p: Column, costs: Column, *, edge: float = EDGE) -> Trades:
    """The rule's trades. p, costs: float64 [n]; where the cost is not known, none is made."""
    side = np.zeros(len(dataset), np.int8)
    _enter(dataset.ts, dataset.symbol, p, costs, edge, dataset.horizon_ns, side, np.full(len(dataset.symbols), -1))
    gross = side * dataset.returns
    return Trades(side, gross, gross - np.where(side != 0, costs, 0.0))


@njit(cache=True)
def _enter(ts, symbol, p, costs, edge, horizon, side, busy_until):  # type: ignore[no-untyped-def]
    for i in range(len(ts)):
        up = p[i] >= 0.5 + edge  # not by the distance: 0.6 - 0.5 is below 0.1
        if (up or p[i] <= 0.5 - edge) and np.isfinite(costs[i]) and ts[i] >= busy_until[symbol[i]]:
            side[i] = 1 if up else -1
            busy_until[symbol[i]] = ts[i] + horizon
