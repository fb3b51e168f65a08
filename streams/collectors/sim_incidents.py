"""What goes wrong on the simulated exchange, and when: pauses of the feed, halts, late, repeated and corrected events."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.collectors.sim_market import CANCEL, CORRECT, NS, ROW, TRADE, Integers, Rows, joined

SLOT_S: Final = 300
"""One pause of the feed and one halt of a symbol in every slot."""
PAUSE_S: Final = (2.0, 5.0)
HALT_S: Final = (20.0, 45.0)
DELAYED: Final = 0.004
DELAY_S: Final = (0.005, 0.45)
VERY_LATE: Final = 0.0002
VERY_LATE_S: Final = (10.5, 20.0)
REPEATED: Final = 0.003
REPEAT_S: Final = (0.001, 0.06)
FIXED: Final = 0.0008
"""Of the trades, how many are corrected or taken back."""
FIX_S: Final = (1.0, 5.0)
CANCELS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Slot:
    """The incidents of one slot; all within it, none in its first ten seconds."""

    paused_ns: int
    resumed_ns: int
    halted: int
    """Row of the symbol."""
    halted_ns: int
    traded_ns: int

    @classmethod
    def draw(cls, seed: int, number: int, start_ns: int, symbols: int) -> "Slot":
        """The same for the same seed and number, whenever it is asked for."""
        rng = np.random.default_rng([seed, 1, number])
        pause, halt = rng.uniform(10.0, SLOT_S - 60.0, 2)
        paused, halted = start_ns + int(pause * NS), start_ns + int(halt * NS)
        return cls(
            paused_ns=paused, resumed_ns=paused + int(rng.uniform(*PAUSE_S) * NS), halted=int(rng.integers(symbols)),
            halted_ns=halted, traded_ns=halted + int(rng.uniform(*HALT_S) * NS),
        )  # fmt: skip

    def trading(self, rows: Rows) -> Rows:
        """The rows that happen: all but those of a halted symbol."""
        ts = rows["ts"]
        halted = (rows["symbol"] == self.halted) & (ts >= self.halted_ns) & (ts < self.traded_ns)
        return rows[~halted] if halted.any() else rows

    def heard(self, emit: Integers) -> NDArray[np.bool_]:
        """Which rows leave the exchange: all but those that would have left during the pause."""
        return (emit < self.paused_ns) | (emit >= self.resumed_ns)

    def paused(self, ts_ns: int) -> bool:
        """Whether the feed is down."""
        return self.paused_ns <= ts_ns < self.resumed_ns


@dataclass(slots=True)
class Fixes:
    """Corrections and cancellations that are still to come."""

    waiting: Rows = field(default_factory=lambda: np.zeros(0, ROW))

    def join(self, rows: Rows, end_ns: int) -> Rows:
        """The rows, and the fixes that fall before `end_ns` among them; by symbol and time."""
        due = self.waiting["ts"] < end_ns
        if not due.any():
            return rows
        rows = joined([rows, self.waiting[due]])
        self.waiting = self.waiting[~due]
        return rows[np.lexsort((rows["ts"], rows["symbol"]))]

    def plan(self, rng: np.random.Generator, rows: Rows) -> None:
        """Choose trades that turn out to be wrong; `rows` are numbered."""
        wrong = rows[(rng.random(len(rows)) < FIXED) & (rows["kind"] == TRADE)]
        if not len(wrong):
            return
        fixes = wrong.copy()
        n = len(fixes)
        fixes["refers"] = wrong["seq"]
        fixes["ts"] += (rng.uniform(*FIX_S, n) * NS).astype(np.int64)
        fixes["kind"] = np.where(rng.random(n) < CANCELS, CANCEL, CORRECT)
        fixes["a"] = np.round(wrong["a"] * (1.0 + 5e-4 * rng.standard_normal(n)), 2)
        fixes["b"] = np.maximum(1.0, np.round(wrong["b"] * rng.uniform(0.2, 1.0, n)))
        self.waiting = joined([self.waiting, fixes])


def on_the_wire(rng: np.random.Generator, rows: Rows) -> Rows:
    """Set when every row leaves: at its time, some later, a few very late. Returns those that leave twice."""
    n = len(rows)
    emit = rows["ts"].copy()
    luck = rng.random(n)
    delayed, very_late = np.flatnonzero(luck < DELAYED), np.flatnonzero(luck > 1.0 - VERY_LATE)
    emit[delayed] += (rng.uniform(*DELAY_S, len(delayed)) * NS).astype(np.int64)
    emit[very_late] += (rng.uniform(*VERY_LATE_S, len(very_late)) * NS).astype(np.int64)
    rows["emit"] = emit
    twice: Rows = rows[rng.random(n) < REPEATED]
    twice["emit"] += (rng.uniform(*REPEAT_S, len(twice)) * NS).astype(np.int64)
    return twice
