"""Numbers for symbols and venues: rows of the state arrays, in order of first appearance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final

import numpy as np

from processors.batch import NEWS, Codes, Rows
from processors.columns import EventColumns, Names

NONE: Final = -1
_NEW: Final = -2
VENUES: Final = 256


@dataclass(slots=True)
class SymbolTable:
    """Row of every symbol, number of every venue, and which venue trades which symbol.

    A symbol belongs to the venue that first trades or quotes it: books and sequence numbers of two venues must not mix.
    News belongs to no venue.
    """

    limit: int
    names: list[str] = field(default_factory=list)
    venues: list[str] = field(default_factory=list)
    venue_of: list[int] = field(default_factory=list)
    """Number of the venue that trades the symbol, -1 while only news came."""
    _rows: dict[str, int] = field(default_factory=lambda: {"": NONE})
    _numbers: dict[str, int] = field(default_factory=lambda: {"": NONE})

    def restore(self, names: Sequence[str], venues: Sequence[str], venue_of: Sequence[int]) -> None:
        """Take over what another table had."""
        self.names, self.venues, self.venue_of = list(names), list(venues), list(venue_of)
        self._rows = {"": NONE, **{name: row for row, name in enumerate(self.names)}}
        self._numbers = {"": NONE, **{venue: number for number, venue in enumerate(self.venues)}}

    def number(self, events: EventColumns) -> tuple[Rows, Rows, dict[int, str]]:
        """(row, venue) of every event, -1 where it has none; and position → reason of events that cannot be numbered."""
        row = _numbered(self._rows, events.symbols)
        venue = _numbered(self._numbers, events.venues)
        refused: dict[int, str] = {}
        for at in np.flatnonzero((row == _NEW) | (venue == _NEW)).tolist():
            row[at], venue[at] = self._add(events.symbols.word(at), events.venues.word(at))
            if _NEW in {row[at], venue[at]}:
                refused[at] = "symbol_limit"
        return row, venue, refused | self._conflicts(row, venue, events.kind, refused)

    def _add(self, symbol: str, venue: str) -> tuple[int, int]:
        """Number what is new; nothing is numbered for an event that will be refused."""
        row, number = self._rows.get(symbol, _NEW), self._numbers.get(venue, _NEW)
        if (row == _NEW and len(self.names) >= self.limit) or (number == _NEW and len(self.venues) >= VENUES):
            return _NEW, _NEW
        if row == _NEW:
            row = self._rows[symbol] = len(self.names)
            self.names.append(symbol)
            self.venue_of.append(NONE)
        if number == _NEW:
            number = self._numbers[venue] = len(self.venues)
            self.venues.append(venue)
        return row, number

    def _conflicts(self, row: Rows, venue: Rows, kind: Codes, refused: dict[int, str]) -> dict[int, str]:
        """Trades and quotes of a symbol from another venue than the one that has it."""
        owned = (row >= 0) & (kind != NEWS)
        owned[list(refused)] = False
        owners = np.array(self.venue_of or [NONE], np.int32)
        row = np.where(owned, row, 0)  # one that was refused is none of the table's
        for at in np.flatnonzero(owned & (owners[row] == NONE)).tolist():
            if owners[row[at]] == NONE:
                owners[row[at]] = self.venue_of[row[at]] = int(venue[at])
        return dict.fromkeys(np.flatnonzero(owned & (owners[row] != venue)).tolist(), "venue_conflict")


def _numbered(known: Mapping[str, int], names: Names) -> Rows:
    """The number of what each event names."""
    of_words = np.fromiter(map(known.get, names.words, repeat(_NEW)), np.int32, len(names.words))
    numbers: Rows = of_words[names.code]
    return numbers
