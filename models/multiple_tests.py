"""Watching many series at once: p-values adjusted so that hundreds of them raise no more false alarms than one."""

import numpy as np
from numpy.typing import NDArray


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's adjusted p-values `[n]` (Scand. J. Statist. 6, 1979), in the order given; NaN where there was no test.

    To reject those at or below alpha errs in any of them with probability alpha at most, however the series depend on
    one another.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    adjusted = np.full(len(p_values), np.nan)
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return adjusted
