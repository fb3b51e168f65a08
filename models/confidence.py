"""A mean that is looked at again and again, with an interval that is right at every look.

An ordinary interval is right once: who looks every five minutes for weeks will see it exclude the truth. This is the
asymptotic confidence sequence of Waudby-Smith et al. (Annals of Statistics 52, 2024, Theorem 2.2), which covers the mean at
all times at once with probability 1 − alpha, for values whose variance need not be known.
"""

import math
from typing import Final

from msgspec import Struct

TUNED_TO: Final = 300
"""Number of values at which the interval is narrowest; elsewhere it is only a little wider than it could be."""
FEWEST: Final = 36
"""The guarantee is asymptotic: before so many values nothing is said."""


class Sequence(Struct, array_like=True):
    """Mean and squared deviations of n values, none of them kept (Welford)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.n += 1
        step = value - self.mean
        self.mean += step / self.n
        self.squares += step * (value - self.mean)

    def radius(self, alpha: float) -> float:
        """Half the width of the interval about `mean`; infinite until there are enough values."""
        if self.n < FEWEST:
            return math.inf
        tuned = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / TUNED_TO
        grown = self.n * tuned + 1
        variance = self.squares / (self.n - 1)
        return math.sqrt(variance * 2 * grown / (self.n**2 * tuned) * math.log(math.sqrt(grown) / alpha))
