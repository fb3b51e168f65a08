"""Drift of inputs and scores: the PSI of every feature and symbol, window by window, against the training reference."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from models.drift import DAY_NS, NAMED, Block, DriftRules, signal_id
from models.drift_reference import ALL, Reference, Yardstick
from models.multiple_tests import holm
from models.psi import Counts, Flags, Floats
from schemas.drift import DriftSignal

SCORE: Final = "score"
"""Name of the column of a reference that holds the model's own score."""


class InputState(Struct, frozen=True, array_like=True):
    """The window at hand, its counts, and what has drifted already."""

    window: int
    counts: bytes
    drifted: bytes


@dataclass(slots=True)
class InputDrift:
    """Tests a window of event time when it has passed, all series at once, corrected by Holm.

    A series that has drifted is told once, until a window finds it unchanged. However many symbols drift, a feature is told
    at most once a window. Symbols that the reference does not know are not watched.
    """

    reference: Reference
    rules: DriftRules
    model: str
    yardstick: Yardstick = field(init=False)
    counts: Counts = field(init=False)
    drifted: Flags = field(init=False)
    """[symbols + 1, features]; all together in the last row."""
    window: int = -1

    def __post_init__(self) -> None:
        self.yardstick = Yardstick.of(self.reference)
        self.counts = np.zeros(self.yardstick.bins.shape, np.int64)
        self.drifted = np.zeros((len(self.reference.symbols) + 1, len(self.reference.features)), np.bool_)

    @property
    def alpha(self) -> float:
        """False alarms a window may raise: half a day's, by the share of the day that it is."""
        return self.rules.false_alarms_per_day / 2 * self.reference.window_ns / DAY_NS

    def fold(self, block: Block) -> list[DriftSignal]:
        """Count the block; what was found in the windows that it ends."""
        window, found = block.start_ns // self.reference.window_ns, []
        if window != self.window:
            found = list(self._judged())
            self.window = window
        rows = {name: row for row, name in enumerate(self.reference.symbols)}
        number = np.array([rows.get(name, -1) for name in block.symbols], np.int64)[block.symbol]
        mine = (number >= 0) & block.known
        self.counts += self.yardstick.bins.counts(block.features[mine], number[mine])
        if block.end_ns >= (window + 1) * self.reference.window_ns:
            found += self._judged()
        return found

    def _judged(self) -> Iterator[DriftSignal]:
        """End the window at hand: what has drifted in it and had not before."""
        if not self.counts.any():
            return
        index = self.yardstick.index(self.counts)
        p = holm(self.yardstick.p_value(index).ravel()).reshape(index.shape)
        tested = ~np.isnan(p)
        drifts = tested & (p <= self.alpha) & (np.nan_to_num(index) >= self.rules.least_index)
        fresh = drifts & ~self.drifted
        self.drifted = np.where(tested, drifts, self.drifted)
        for column in np.flatnonzero(fresh.any(axis=0)):
            yield self._signal(int(column), fresh[:, column], index[:, column], p[:, column], int(tested.sum()))
        self.counts[:] = 0

    def _signal(self, column: int, fresh: Flags, index: Floats, p: Floats, tested: int) -> DriftSignal:
        own = np.flatnonzero(fresh[:-1])
        row = len(fresh) - 1 if fresh[-1] or len(own) > 1 else int(own[0])
        shown = row if fresh[row] else int(own[np.nanargmin(p[own])])  # the clearest of several
        what, symbol = self.reference.features[column], ALL if row == len(fresh) - 1 else self.reference.symbols[row]
        end = (self.window + 1) * self.reference.window_ns
        rows = self.counts[:, 0].sum(axis=1)
        kind: Literal["score", "input"] = "score" if what == SCORE else "input"
        return DriftSignal(
            id=signal_id(self.model, "psi", symbol, what, end), kind=kind, test="psi", symbol=symbol, what=what,
            model=self.model, ts_event=end, start=end - self.reference.window_ns, statistic=float(index[shown]),
            threshold=self._threshold(shown, column), p_value=float(p[shown]), tested=tested,
            affected=tuple(self.reference.symbols[each] for each in own[:NAMED]), affected_n=len(own),
            rows=int(rows.sum() if symbol == ALL else rows[row]),
        )  # fmt: skip

    def _threshold(self, row: int, column: int) -> float:
        """PSI at which the most severe step of the correction would reject this series, or the least worth telling."""
        return max(self.rules.least_index, self.yardstick.index_at(self.alpha / self.drifted.size, row, column))

    def snapshot(self) -> InputState:
        """What is remembered."""
        return InputState(self.window, self.counts.tobytes(), self.drifted.tobytes())

    def restore(self, state: InputState) -> None:
        """Take over what `snapshot` gave under the same reference."""
        self.window = state.window
        self.counts = np.frombuffer(state.counts, np.int64).reshape(self.counts.shape).copy()
        self.drifted = np.frombuffer(state.drifted, np.bool_).reshape(self.drifted.shape).copy()
