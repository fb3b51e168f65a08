"""What an indicator is: a frozen declaration, and the running state that it starts.

The declaration's `repr` is its identity. The state is arrays with one row a symbol, so that growing, snapshots and
forgetting at a session's open are the same few lines for all of them (`processors.features`).
"""

from typing import Any, Protocol

from numpy.typing import NDArray

from processors.batch import Column, EventBatch


class IndicatorState(Protocol):
    """Running values of one indicator for all symbols."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Everything that is remembered; the first axis is the symbol. A fresh symbol's row is as `start` made it."""

    def fold(self, batch: EventBatch, out: Column) -> None:
        """Fold the rows in order and write the indicator's value after each into `out`; NaN until warm.

        `out`: float64 [n], a contiguous view or not. A non-finite input never enters the state.
        """


class Indicator(Protocol):
    """A frozen declaration: parameters with their units in their names."""

    def start(self, symbols: int) -> IndicatorState:
        """The state for `symbols` symbols that have seen nothing."""
