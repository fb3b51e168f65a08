"""Compiles every kernel, so that set-up pays for it and no first tick does."""

import numpy as np

from processors.batch import EventBatch
from processors.features import FEATURES, FeatureEngine


def compile_kernels() -> None:
    """Fold a tiny batch through all of FEATURES; Numba then finds the machine code in its cache at every later start."""
    FeatureEngine(FEATURES, capacity=1).fold(_silence(2), np.zeros(2, np.bool_))


def _silence(n: int) -> EventBatch:
    """Rows of the columns' own types in which nothing is said."""

    def unknown() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.full(n, np.nan)

    return EventBatch(
        kind=np.zeros(n, np.int8), symbol=np.zeros(n, np.int32), now=np.zeros(n, np.int64), sign=np.zeros(n, np.int8),
        price=unknown(), size=unknown(), bid=unknown(), bid_size=unknown(), ask=unknown(), ask_size=unknown(),
        last=unknown(), mid=unknown(), sentiment=unknown(),
        session_open=np.zeros(n, np.int64), session_close=np.zeros(n, np.int64),
    )  # fmt: skip
