"""A database without a row, for revisions of a fold that begins with its log and forgets nothing."""

# ruff: noqa: ARG002 (the protocol has the arguments)

from collections.abc import Sequence

import numpy as np

from processors.revision import FIXES, ISSUED, TRADES, Lines


class NoHistory:
    """A database without a row: for a fold that begins with the log and forgets nothing."""

    def numbered(self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, int]]) -> Lines:
        return np.empty(0, TRADES)

    def spans(
        self,
        partition: int,
        below: int,
        symbols: Sequence[str],
        wanted: Sequence[tuple[int, int, int]],
    ) -> tuple[Lines, Lines, Sequence[int]]:
        return np.empty(0, TRADES), np.empty(0, FIXES), [-1] * len(symbols)

    def issued(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, str, int]]
    ) -> Lines:
        return np.empty(0, ISSUED)
