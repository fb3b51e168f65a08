"""What was folded lately of one partition: trades, corrections, bars, until the database surely has them."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.bars import BY_TIME, ClosedBars
from processors.batch import TRADE, Integers
from processors.columns import CANCEL, CORRECT, SESSION
from processors.revision import FIXES, ISSUED, TRADES, Lines
from processors.shard import ShardOutput
from processors.timeline import DUPLICATE, LATE

UNKNOWN: Final = np.iinfo(np.int64).max


@dataclass(slots=True)
class Shelf:
    """Lines in the order in which they came, which is not quite the log's: what a stretch revises comes behind what it closes.

    They stay where they are in memory: what is forgotten makes room at the front, so that a full shelf touches no new page.
    """

    lines: Lines
    count: int = 0

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> "Shelf":
        """Empty."""
        return cls(np.empty(256, dtype))

    def __len__(self) -> int:
        return self.count

    @property
    def kept(self) -> Lines:
        """All lines, as a view."""
        return self.lines[: self.count]

    def room(self, n: int) -> Lines:
        """`n` new lines, to be filled in."""
        if self.count + n > len(self.lines):
            longer = np.empty(2 * (self.count + n), self.lines.dtype)
            longer[: self.count] = self.kept
            self.lines = longer
        self.count += n
        return self.lines[self.count - n : self.count]

    def forget(self, below: int) -> Lines:
        """Drop the lines whose offset is lower; them."""
        old = self.kept["offset"] < below
        gone, left = self.kept[old], self.kept[~old]
        self.count = len(left)
        self.lines[: self.count] = left
        return gone


@dataclass(slots=True)
class Recent:
    """Everything from `floor` on. A bar that starts after `horizon` of its symbol is in here whole.

    by: [kinds], how the kinds of bars are cut.
    """

    by: Integers
    floor: int
    trades: Shelf = field(default_factory=lambda: Shelf.of(TRADES))
    fixes: Shelf = field(default_factory=lambda: Shelf.of(FIXES))
    issued: Shelf = field(default_factory=lambda: Shelf.of(ISSUED))
    clock: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[symbols]: as it was when the symbol was first seen here; nothing before is stamped later, corrections apart."""
    gone: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[symbols]: newest stamp of what is not here; UNKNOWN until the database was asked for corrections."""

    def take(self, output: ShardOutput) -> None:
        """Remember a stretch, and the bars that it closed."""
        events, offsets = output.events, output.stretch.offsets
        self._meet(output)
        at = np.flatnonzero((events.kind == TRADE) & (output.placed.door != DUPLICATE))
        new = self.trades.room(len(at))
        for name, column in (
            ("row", events.row), ("seq", events.seq), ("ts", events.ts_event), ("price", events.price),
            ("size", events.size), ("offset", offsets),
        ):  # fmt: skip
            new[name] = column[at]
        new["late"] = output.placed.door[at] == LATE
        fixes = ((events.kind == CORRECT) | (events.kind == CANCEL)) & (output.placed.door != DUPLICATE)
        if fixes.any():
            self._take_fixes(output, np.flatnonzero(fixes))
        if len(output.bars):
            self.note(output.bars, offsets)

    def _take_fixes(self, output: ShardOutput, at: Integers) -> None:
        events, told = output.events, output.stretch.events
        new = self.fixes.room(len(at))
        new["row"], new["ts"], new["offset"] = events.row[at], events.ts_event[at], output.stretch.offsets[at]
        new["price"], new["size"], new["cancel"] = events.price[at], events.size[at], events.kind[at] == CANCEL
        new["refers"] = [told[i].refers_seq for i in at.tolist()]

    def note(self, bars: ClosedBars, offsets: Integers) -> None:
        """Remember time bars that were issued, in log order."""
        at = np.flatnonzero(self.by[bars.kind] == BY_TIME)
        new = self.issued.room(len(at))
        new["row"], new["kind"], new["start"] = bars.row[at], bars.kind[at], bars.stamps[at, 0]
        new["offset"], new["rev"], new["n_trades"] = offsets[bars.event[at]], bars.rev[at], bars.stamps[at, 2]
        new["gap_ms"], new["partial"], new["numbers"] = bars.gap_ms[at], bars.partial[at], bars.numbers[at]

    def horizon(self, row: Integers) -> Integers:
        """[n]: newest stamp that anything of each symbol may have that is not here, ns."""
        return np.maximum(self.clock[row], self.gone[row])

    def learn(self, row: int, newest_fix: int) -> None:
        """The database has no correction of the symbol below the floor that is stamped later."""
        if self.gone[row] == UNKNOWN:
            self.gone[row] = newest_fix

    def trim(self, most: int, stored: int) -> None:
        """Keep `most` trades where the rest is stored."""
        if len(self.trades) <= 2 * most:
            return
        floor = min(int(self.trades.kept["offset"][-most]), stored + 1)
        if floor <= self.floor:
            return
        for gone in (self.trades.forget(floor), self.fixes.forget(floor)):
            known = gone[self.gone[gone["row"]] != UNKNOWN]
            np.maximum.at(self.gone, known["row"], known["ts"])
            unasked = gone[self.gone[gone["row"]] == UNKNOWN]
            np.maximum.at(self.clock, unasked["row"], unasked["ts"])
        self.issued.forget(floor)
        self.floor = floor

    def _meet(self, output: ShardOutput) -> None:
        """Note the clocks of symbols that are seen for the first time; all but those of the first stretch are new."""
        symbols, before = len(output.names), len(self.clock)
        if symbols > before:
            known = np.full(symbols - before, -1 if before or self.floor == 0 else UNKNOWN)
            self.clock, self.gone = np.concatenate([self.clock, known]), np.concatenate([self.gone, known])
        row = output.events.row
        at = np.flatnonzero((row >= 0) & (output.events.kind != SESSION))  # a halt of a symbol tells no time of it
        unseen = at[self.clock[row[at]] == UNKNOWN]
        if len(unseen):
            rows, first = np.unique(row[unseen], return_index=True)
            self.clock[rows] = output.placed.now[unseen[first]]
