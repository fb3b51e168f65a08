"""FEATURES, declared once, and the engine that folds them.

A name is a contract: ClickHouse column, model input, API field. `FEATURES_ID` is the hash of all declarations and of
the code they run (`KERNELS_VERSION`): it stands in every row, every model manifest and the dataflow's step id.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.batch import EventBatch, Flags, Matrix, Rows
from processors.indicator import Indicator, IndicatorState
from processors.indicators.vwap import Vwap

KERNELS_VERSION: Final = 1
"""Raised by hand when a kernel's arithmetic changes, so that old state is not folded on with new code."""

FEATURES: Final[Mapping[str, Indicator]] = {
    "vwap_dev_10s": Vwap(window_s=10),
    "vwap_dev_60s": Vwap(window_s=60),
    "vwap_dev_300s": Vwap(window_s=300),
}


def fingerprint(features: Mapping[str, Indicator]) -> str:
    """Twelve hex digits that change with any name, parameter or kernel version."""
    told = "\n".join([f"v{KERNELS_VERSION}", *(f"{name}={indicator!r}" for name, indicator in features.items())])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


FEATURES_ID: Final = fingerprint(FEATURES)
FEATURE_NAMES: Final = tuple(FEATURES)


@dataclass(slots=True)
class FeatureEngine:
    """The states of a catalogue of indicators, for as many symbols as have come."""

    features: Mapping[str, Indicator]
    capacity: int = 16
    states: list[IndicatorState] = field(init=False)
    _fresh_rows: list[tuple[NDArray[Any], ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.states = [indicator.start(self.capacity) for indicator in self.features.values()]
        self._fresh_rows = [indicator.start(1).arrays for indicator in self.features.values()]

    def grow(self, symbols: int) -> None:
        """Make room for `symbols` symbols; what is known of the others stays."""
        if symbols <= self.capacity:
            return
        self.capacity = max(symbols, 2 * self.capacity)
        grown = [indicator.start(self.capacity) for indicator in self.features.values()]
        for new, old in zip(grown, self.states, strict=True):
            _copy(old.arrays, new.arrays)
        self.states = grown

    def fold(self, batch: EventBatch, fresh: Flags) -> Matrix:
        """Features after every row, float64 [features, n]: one contiguous line a feature; NaN until warm.

        `fresh`: rows at which their symbol enters a new session; its states forget everything before them.
        """
        lines = np.empty((len(self.features), len(batch)))
        for start, stop in _stretches(batch.symbol, fresh):
            self._forget(np.unique(batch.symbol[start:stop][fresh[start:stop]]))
            part = batch if (start, stop) == (0, len(batch)) else batch.rows(start, stop)
            for state, out in zip(self.states, lines, strict=True):
                state.fold(part, out[start:stop])
        return lines

    def _forget(self, symbols: Rows) -> None:
        if len(symbols) == 0:
            return
        for state, fresh_row in zip(self.states, self._fresh_rows, strict=True):
            for array, row in zip(state.arrays, fresh_row, strict=True):
                array[symbols] = row[0]

    def arrays(self, symbols: int) -> list[NDArray[Any]]:
        """Everything remembered of the first `symbols` symbols, for a snapshot."""
        return [array[:symbols] for state in self.states for array in state.arrays]

    def restore(self, arrays: list[NDArray[Any]], symbols: int) -> None:
        """Take over what `arrays` gave."""
        self.grow(symbols)
        _copy(tuple(arrays), tuple(array for state in self.states for array in state.arrays))


def _copy(source: tuple[NDArray[Any], ...], target: tuple[NDArray[Any], ...]) -> None:
    for old, new in zip(source, target, strict=True):
        new[: len(old)] = old


def _stretches(symbol: Rows, fresh: Flags) -> list[tuple[int, int]]:
    """Row ranges in which no symbol turns fresh after rows of its own: forgetting first is then forgetting in time."""
    cuts, start = [], 0
    for row in np.flatnonzero(fresh):
        if np.any(symbol[start:row] == symbol[row]):
            cuts.append((start, int(row)))
            start = int(row)
    return [*cuts, (start, len(symbol))]
