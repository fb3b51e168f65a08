"""LEAN's US equity ticks: one file a symbol, a day and a kind; New York wall time; prices in ten-thousandths."""

from datetime import date
from functools import lru_cache
from typing import Final

from schemas.events import Quote, Trade
from streams.recordings.grammar import FLAG, HEX, LETTER, MILLISECONDS, WHOLE, Grammar
from streams.recordings.lean import LeanFile, RowReader
from streams.recordings.lines import LineFile
from streams.recordings.zones import NEW_YORK

VENUE: Final = "USA"
SCALE: Final = 10_000

OPENING_PRINT: Final = 0x40
CLOSING_PRINT: Final = 0x80
CROSS: Final = 0x200000
OFFICIAL_CLOSE: Final = 0x1000000
OFFICIAL_OPEN: Final = 0x4000000


def counts_in_bars(flags: int) -> bool:
    """Whether LEAN's own minute bars count the volume of a trade with these sale conditions.

    Found by comparing six symbol-days with those bars: the official open and close repeat shares that were printed
    before, and so do auction prints that are marked as a cross (of an exchange that does not list the symbol).
    Average-price, derivatively priced and out-of-sequence trades do count, though LEAN takes no open, high, low or
    close from the first two, nor from intermarket sweeps, in regular hours.
    """
    if flags & (OFFICIAL_OPEN | OFFICIAL_CLOSE):
        return False
    return not (flags & (OPENING_PRINT | CLOSING_PRINT) and flags & CROSS)


class LeanTrades(LeanFile):
    """Trades of one symbol and day. One marked suspicious counts in no bar; one of price or size 0 is a dead letter."""

    grammar = Grammar(
        "LEAN equity trade ticks",
        (
            ("milliseconds", MILLISECONDS), ("price", WHOLE), ("size", WHOLE), ("exchange", LETTER),
            ("condition", HEX), ("suspicious", FLAG),
        ),
    )  # fmt: skip

    def __init__(self, file: LineFile, symbol: str, day: date) -> None:
        super().__init__(file, symbol, day, NEW_YORK)

    def reader(self) -> RowReader:
        """Reads `price, size, exchange, condition, suspicious`; remembers nothing."""
        return self._trade

    def _trade(
        self, seq: int, at: int, price: bytes, size: bytes, exchange: bytes, flags: bytes, suspicious: bytes
    ) -> Trade | str:
        ticks, shares = int(price), int(size)
        if ticks == 0 or shares == 0:
            return f"expected price and size above 0, found {ticks} and {shares}"
        conditions, in_bars = _conditions(exchange, flags, suspicious)
        return Trade(
            symbol=self.symbol, venue=VENUE, seq=seq, ts_event=at, ts_ingest=0, price=ticks / SCALE,
            size=float(shares), conditions=conditions, in_bars=in_bars,
        )  # fmt: skip


class LeanQuotes(LeanFile):
    """Best bid and offer of one symbol and day, joined from rows that tell one side (0: unchanged).

    Gives nothing until both sides are known. A row marked suspicious, or one that tells no side, is a dead letter and
    changes neither.
    """

    grammar = Grammar(
        "LEAN equity quote ticks",
        (
            ("milliseconds", MILLISECONDS), ("bid", WHOLE), ("bid size", WHOLE), ("ask", WHOLE), ("ask size", WHOLE),
            ("exchange", LETTER), ("condition", HEX), ("suspicious", FLAG),
        ),
    )  # fmt: skip

    def __init__(self, file: LineFile, symbol: str, day: date) -> None:
        super().__init__(file, symbol, day, NEW_YORK)

    def reader(self) -> RowReader:
        """Reads `bid, bid size, ask, ask size, exchange, condition, suspicious`; remembers both sides."""
        symbol = self.symbol
        bid = bid_size = ask = ask_size = 0.0

        def quote(
            seq: int, at: int, bid_ticks: bytes, bid_shares: bytes, ask_ticks: bytes, ask_shares: bytes, *marks: bytes
        ) -> Quote | str | None:  # fmt: skip
            nonlocal bid, bid_size, ask, ask_size
            new_bid, new_ask = int(bid_ticks), int(ask_ticks)
            if marks[-1] == b"1":
                return "marked suspicious by the source"
            if not (new_bid or new_ask):
                return "expected a bid or an ask, found neither"
            if new_bid:
                bid, bid_size = new_bid / SCALE, float(bid_shares)
            if new_ask:
                ask, ask_size = new_ask / SCALE, float(ask_shares)
            if not (bid and ask):
                return None
            return Quote(
                symbol=symbol, venue=VENUE, seq=seq, ts_event=at, ts_ingest=0, bid=bid, bid_size=bid_size, ask=ask,
                ask_size=ask_size,
            )  # fmt: skip

        return quote


@lru_cache(maxsize=4_096)
def _conditions(exchange: bytes, flags: bytes, suspicious: bytes) -> tuple[str, bool]:
    """`exchange:flags` as they stand in the file, and whether the trade counts in bars."""
    text = f"{exchange.decode()}:{flags.decode()}"
    return text, suspicious == b"0" and counts_in_bars(int(flags or b"0", 16))
