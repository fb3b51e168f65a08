"""What a shard remembers of every symbol, beside its indicators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.bars import BarBuilder
from processors.labels import Labels
from processors.market import MarketState
from processors.numbers import Numbers
from processors.timeline import Timeline


@dataclass(slots=True)
class PerSymbol:
    """State arrays with a line a symbol, those of the indicators apart."""

    timeline: Timeline
    market: MarketState
    bars: BarBuilder
    labels: Sequence[Labels]
    """By horizon, the learnt one first."""
    halted: NDArray[np.int8]
    """[symbols]: trading is halted or closed, by the venue's word."""
    numbers: Numbers

    @property
    def symbols(self) -> int:
        """For how many there is room."""
        return len(self.timeline.clock)

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """What is remembered, each [symbols, …]."""
        of_labels = [array for labels in self.labels for array in labels.arrays]
        return [
            *self.timeline.arrays,
            *self.market.arrays,
            *self.bars.arrays,
            *of_labels,
            self.halted,
            *self.numbers.arrays,
        ]
