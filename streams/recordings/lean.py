"""What LEAN's tick files share: headerless rows of one symbol and day, stamped with milliseconds of a wall clock."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import date
from typing import ClassVar, Final, TypeAlias

from schemas.events import Quote, Trade
from streams.recordings.grammar import Grammar
from streams.recordings.lines import LineFile
from streams.recordings.recording import Recorded, letter
from streams.recordings.zones import DAY_MS, HOUR_MS, MS, hour_starts, zone

ROWS_A_DAY: Final = 10**9
"""`seq` is yyyymmdd * 10**9 + row, so it rises within a file and from day to day."""
RowReader: TypeAlias = Callable[..., "Trade | Quote | str | None"]
"""Takes `seq`, `ts_event` and the row's cells; gives an event, none, or the reason why the row is bad."""


class LeanFile(ABC):
    """One file; a subclass names the grammar of its rows and reads them."""

    grammar: ClassVar[Grammar]
    first_ns = 0
    numbered_by_time = False

    def __init__(self, file: LineFile, symbol: str, day: date, zone_name: str) -> None:
        self.file = file
        self.symbol = symbol
        self.symbols: frozenset[str] | None = frozenset((symbol,))
        self.name = file.name
        self._starts = hour_starts(day, zone(zone_name))
        self._first_seq = int(f"{day:%Y%m%d}") * ROWS_A_DAY

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.file.size

    @property
    def position(self) -> int:
        """Bytes of these read so far."""
        return self.file.position

    def items(self) -> Iterator[Recorded]:
        """Events and dead letters in file order."""
        match, read, starts = self.grammar.match, self.reader(), self._starts
        for number, line in enumerate(self.file.lines(), 1):
            found = match(line)
            if found is None:
                if line.strip():
                    yield letter(self.name, number, "undecodable", self.grammar.explain(line), line)
                continue
            at, *cells = found.groups()
            whole, _, fraction = at.partition(b".")
            ms, below_ms = int(whole), int(fraction[:6].ljust(6, b"0")) if fraction else 0
            if ms >= DAY_MS:
                yield letter(self.name, number, "invalid_value", f"expected milliseconds below {DAY_MS}", line)
                continue
            item = read(self._first_seq + number, starts[ms // HOUR_MS] + ms * MS + below_ms, *cells)
            if isinstance(item, str):
                yield letter(self.name, number, "invalid_value", item, line)
            elif item is not None:
                yield item

    @abstractmethod
    def reader(self) -> RowReader:
        """A reader of rows that starts from nothing known."""
