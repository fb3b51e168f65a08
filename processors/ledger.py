"""The ledger: every record that came in left by one door, and the feature bits have a rolling hash.

`in = folded + duplicate + late + rejected + control`, per partition, cumulative since the first record of the log.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import Codes, Integers, Matrix
from processors.timeline import FOLDED

REJECTED: Final = 4
DOORS: Final = ("folded", "duplicate", "late", "control", "rejected")
MINUTE_MS: Final = 60_000
_OFFSET_BASIS: Final = 14695981039346656037


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """Counts as of one record."""

    offset: int
    ts_broker: int
    """Milliseconds."""
    ts_event: int
    counts: tuple[int, int, int, int, int]
    """By `DOORS`."""
    features_hash: int
    first_offset: int

    @property
    def events_in(self) -> int:
        """All records."""
        return sum(self.counts)


@dataclass(slots=True)
class Ledger:
    """Counts and hash of one partition; a line is cut at the first record of each minute of the broker's clock."""

    counts: NDArray[np.int64]
    """[5], by `DOORS`."""
    told: NDArray[np.int64]
    """[4]: minute of the last line, first offset, last offset, newest event time."""
    features_hash: NDArray[np.uint64]
    """[1]"""

    @classmethod
    def start(cls) -> "Ledger":
        """Nothing counted."""
        return cls(np.zeros(5, np.int64), np.full(4, -1, np.int64), np.array([_OFFSET_BASIS], np.uint64))

    @property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
        """What is remembered."""
        return (self.counts, self.told, self.features_hash)

    def enter(
        self, offset: Integers, ts_broker: Integers, door: Codes, newest: Integers, matrix: Matrix
    ) -> list[LedgerLine]:
        """Count records in log order; the lines that were cut, each as of the records before its own.

        offset, ts_broker (ms), newest (event time, ns, -1 for none): int64 [records], door: int8 [records].
        matrix: features of the folded ones, [rows, features].
        """
        if len(offset) == 0:
            return []
        if self.told[1] < 0:
            self.told[1] = offset[0]
        minute = np.maximum(np.maximum.accumulate(ts_broker // MINUTE_MS), self.told[0])
        cuts = np.flatnonzero(np.diff(minute, prepend=self.told[0]) > 0)
        rows_before = np.concatenate([[0], np.cumsum(door == FOLDED)])
        lines, start = [], 0
        for cut in [*cuts.tolist(), len(offset)]:
            self.counts += np.bincount(door[start:cut], minlength=5)
            self.told[3] = max(int(self.told[3]), int(newest[start:cut].max(initial=-1)))
            _hash_rows(self.features_hash, matrix[rows_before[start] : rows_before[cut]])
            if cut < len(offset):
                lines.append(self._line(int(offset[cut]), int(ts_broker[cut])))
            start = cut
        self.told[0], self.told[2] = minute[-1], offset[-1]
        return lines

    def _line(self, offset: int, ts_broker: int) -> LedgerLine:
        folded, duplicate, late, control, rejected = (int(count) for count in self.counts)
        return LedgerLine(
            offset=offset, ts_broker=ts_broker, ts_event=max(int(self.told[3]), 0),
            counts=(folded, duplicate, late, control, rejected), features_hash=int(self.features_hash[0]),
            first_offset=int(self.told[1]),
        )  # fmt: skip


@njit(cache=True)
def _hash_rows(state, matrix):  # type: ignore[no-untyped-def]
    """FNV-1a over the 64-bit words of the features, row by row; every NaN counts as the same one."""
    bits = matrix.view(np.uint64)
    h = state[0]
    for i in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            word = np.uint64(0x7FF8000000000000) if np.isnan(matrix[i, j]) else bits[i, j]
            h = (h ^ word) * np.uint64(1099511628211)
            h ^= h >> np.uint64(32)
    state[0] = h
