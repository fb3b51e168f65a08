"""LEAN's quote bars of a second, where quote ticks are missing: the best bid and offer with which each second ended."""

from datetime import date
from pathlib import Path
from typing import Final

from schemas.events import Quote
from streams.recordings.grammar import MILLISECONDS, Grammar
from streams.recordings.lean import LeanFile, RowReader
from streams.recordings.lean_equity import SCALE, VENUE
from streams.recordings.lines import LineFile
from streams.recordings.zones import NEW_YORK, NS

CELL: Final = (r"\d{0,15}", "digits or nothing")
SIDES: Final = tuple(
    (f"{side} {what}", CELL) for side in ("bid", "ask") for what in ("open", "high", "low", "close", "size")
)


class LeanQuoteBars(LeanFile):
    """Quotes of one symbol and day: of every bar its closing bid and ask, dated at the bar's end, when both are known.

    What happened within the second is not there, and a bar in which a side is missing gives nothing.
    """

    grammar = Grammar("LEAN quote bars", (("milliseconds", MILLISECONDS), *SIDES))

    def __init__(self, file: LineFile, symbol: str, day: date) -> None:
        super().__init__(file, symbol, day, NEW_YORK)

    @classmethod
    def open(cls, path: Path, symbol: str, day: date) -> "LeanQuoteBars":
        """The bars of a file. Raises: `InputError`."""
        return cls(LineFile(path), symbol, day)

    def reader(self) -> RowReader:
        """Reads the ten cells of a bar; remembers nothing."""
        return self._quote

    def _quote(self, seq: int, at: int, *cells: bytes) -> Quote | str | None:
        bid, bid_size, ask, ask_size = (int(cells[place] or b"0") for place in (3, 4, 8, 9))
        if not (bid and ask):
            return None
        return Quote(
            symbol=self.symbol, venue=VENUE, seq=seq, ts_event=at + NS, ts_ingest=0, bid=bid / SCALE,
            bid_size=float(bid_size), ask=ask / SCALE, ask_size=float(ask_size),
        )  # fmt: skip
