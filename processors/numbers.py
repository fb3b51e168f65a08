"""Numbers of what is said, counted per symbol, so that whoever reads it can tell that nothing is missing.

Predictions, outcomes, bars, and the bars of each kind are counted apart. The counts belong to the fold's state: a restart
goes on with them, and a fold of the same log from the same record gives the same numbers. A fold that begins later begins
higher than any number that was given before it, so a number never comes twice for two messages of one log.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Integers

if TYPE_CHECKING:
    from processors.shard import ShardOutput

PREDICTIONS: Final = 0
OUTCOMES: Final = 1
BARS: Final = 2
KINDS: Final = 3
"""Column of the first kind of bar."""
PER_RECORD: Final = 1_024
"""Numbers set aside for each record before the first one folded: more than what is said of one symbol in one channel."""


@dataclass(frozen=True, slots=True)
class SaidNumbers:
    """Of every prediction, outcome and bar of one output; `of_kind`: of every bar among those of its kind."""

    predictions: Integers
    outcomes: Integers
    bars: Integers
    of_kind: Integers


@dataclass(slots=True)
class Numbers:
    """The last number given, [symbols, 3 + kinds of bars]; 0 before the first."""

    given: NDArray[np.int64]

    @classmethod
    def start(cls, symbols: int, kinds: int) -> "Numbers":
        """Nothing said."""
        return cls(np.zeros((symbols, KINDS + kinds), np.int64))

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered, one row a symbol."""
        return (self.given,)

    def of(self, output: "ShardOutput", first: int) -> SaidNumbers:
        """The numbers of what `output` says, revisions included. `first`: offset of the first record that was folded."""
        before, bars = first * PER_RECORD, output.bars
        return SaidNumbers(
            self._next(output.batch.symbol, np.full(len(output.batch.symbol), PREDICTIONS), before),
            self._next(output.outcomes.row, np.full(len(output.outcomes.row), OUTCOMES), before),
            self._next(bars.row, np.full(len(bars.row), BARS), before),
            self._next(bars.row, KINDS + bars.kind, before),
        )

    def _next(self, row: NDArray[Any], column: NDArray[Any], before: int) -> Integers:
        out = np.empty(len(row), np.int64)
        _count(row.astype(np.int64), column.astype(np.int64), self.given, before, out)
        return out


@njit(cache=True)
def _count(row, column, given, before, out):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        given[row[i], column[i]] = max(given[row[i], column[i]], before) + 1
        out[i] = given[row[i], column[i]]
