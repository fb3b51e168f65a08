"""The population stability index: how far the shares of a window's values in quantile bins are from those of a reference.

PSI = Σ over bins of (observed − expected) · ln(observed / expected); 0 where both are equal, symmetric, never negative. Bins are
each symbol's own quantiles of a feature, and one more for what is missing.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.model import Matrix
from schemas.errors import ModelError

Counts: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


def stability_index(expected: Floats, observed: Floats) -> Floats:
    """PSI over the last axis of two arrays of shares `[..., bins]`; a bin that neither has (0, 0) adds nothing.

    >>> round(float(stability_index(np.array([0.5, 0.5]), np.array([0.25, 0.75]))), 4)
    0.2747
    """
    there = (expected > 0) & (observed > 0)
    ratio = np.divide(observed, expected, out=np.ones(there.shape), where=there)
    total: Floats = ((observed - expected) * np.log(ratio)).sum(axis=-1)
    return total


def smoothed(counts: Counts | Floats, live: Flags) -> Floats:
    """Shares `[..., bins]` with half a row added to every live bin, so that an empty bin does not make the index infinite."""
    padded = np.where(live, counts + 0.5, 0.0)
    shares: Floats = padded / padded.sum(axis=-1, keepdims=True)
    return shares


@dataclass(frozen=True, slots=True)
class Bins:
    """Quantile bins of S symbols and F features, at most `E + 1` a feature and one for missing values.

    edges  float64 [S, F, E], ascending, padded with +inf: a value lies in the bin whose number is how many edges it exceeds
    """

    edges: Floats

    def __post_init__(self) -> None:
        if self.edges.ndim != 3 or np.isnan(self.edges).any() or (np.diff(np.nan_to_num(self.edges), axis=2) < 0).any():
            raise ModelError(f"expected ascending edges [symbols, features, edges], found shape {self.edges.shape}")

    @classmethod
    def of(cls, features: Matrix, symbol: NDArray[np.int64], symbols: int, bins: int) -> "Bins":
        """`bins` bins of equal counts where values differ enough; the edges are values that occurred.

        features: float64 [n, F], symbol: int64 [n], a row of `symbols` each.
        """
        edges = np.full((symbols, features.shape[1], bins - 1), np.inf)
        at = np.arange(1, bins) / bins
        for row in range(symbols):
            for column, values in enumerate(features[symbol == row].T):
                known = values[np.isfinite(values)]
                if len(known):
                    found = np.unique(np.quantile(known, at, method="inverted_cdf"))
                    edges[row, column, : len(found)] = found
        return cls(edges)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of counts: symbols, features, bins with the one for missing values."""
        symbols, features, edges = self.edges.shape
        return symbols, features, edges + 2

    @property
    def live(self) -> Flags:
        """Which bins a value can fall into, [S, F, bins]; the last one, for missing values, always."""
        used = np.isfinite(self.edges)
        first, missing = np.ones((*used.shape[:2], 1), np.bool_), np.ones((*used.shape[:2], 1), np.bool_)
        return np.concatenate([first, used, missing], axis=2)

    def counts(self, features: Matrix, symbol: NDArray[np.int64]) -> Counts:
        """How many rows fall into each bin, int64 [S, F, bins]; non-finite values count as missing."""
        symbols, width, bins = self.shape
        number = (features[:, :, None] > self.edges[symbol]).sum(axis=2)
        number[~np.isfinite(features)] = bins - 1
        cell = (symbol[:, None] * width + np.arange(width)) * bins + number
        return np.bincount(cell.ravel(), minlength=symbols * width * bins).reshape(symbols, width, bins)


def indices(counts: Counts | Floats, reference: Counts | Floats, live: Flags) -> Floats:
    """PSI of every symbol and feature, and of all symbols together in the last row: float64 [S + 1, F].

    counts, reference: [S, F, bins]. All together means the sum over symbols of their counts by bin against what the
    symbols' own shares make expect, weighted as the window weighs them: a symbol that falls silent is no drift.
    """
    own = stability_index(smoothed(reference, live), smoothed(counts, live))
    rows = counts.sum(axis=2, keepdims=True)
    expected = (smoothed(reference, live) * rows).sum(axis=0)
    anywhere: Flags = np.logical_or.reduce(live, axis=0)
    together = stability_index(smoothed(expected, anywhere), smoothed(counts.sum(axis=0), anywhere))
    return np.concatenate([own, together[None]])
