"""LEAN's forex ticks: `milliseconds since midnight, bid, ask`, no sizes; each broker has its own midnight."""

from datetime import date
from typing import Final

from schemas.errors import InputError
from schemas.events import MAX_PRICE, Quote
from streams.recordings.grammar import DECIMAL, MILLISECONDS, Grammar
from streams.recordings.lean import LeanFile, RowReader
from streams.recordings.lines import LineFile

ZONES: Final = {"OANDA": "UTC", "FXCM": "UTC-5"}
"""Checked against each other on EURUSD of 2014-05-08: FXCM's clock knows no summer time."""


class LeanForex(LeanFile):
    """Quotes of one pair and day, as the broker gave them: crossed ones too, all of size 0."""

    grammar = Grammar("LEAN forex ticks", (("milliseconds", MILLISECONDS), ("bid", DECIMAL), ("ask", DECIMAL)))

    def __init__(self, file: LineFile, symbol: str, day: date, venue: str) -> None:
        if venue not in ZONES:
            raise InputError(
                f"{file.path}: expected the broker to be one of {', '.join(ZONES)}, found {venue!r}; its clock decides "
                "what the stamps mean, so say which"
            )
        super().__init__(file, symbol, day, ZONES[venue])
        self.venue = venue

    def reader(self) -> RowReader:
        """Reads `bid, ask`; remembers nothing."""
        return self._quote

    def _quote(self, seq: int, at: int, bid_text: bytes, ask_text: bytes) -> Quote | str:
        bid, ask = float(bid_text), float(ask_text)
        if not (0 < bid <= MAX_PRICE and 0 < ask <= MAX_PRICE):
            return f"expected prices above 0, found {bid} and {ask}"
        return Quote(
            symbol=self.symbol, venue=self.venue, seq=seq, ts_event=at, ts_ingest=0, bid=bid, bid_size=0.0, ask=ask,
            ask_size=0.0,
        )  # fmt: skip
