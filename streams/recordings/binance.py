"""Raw captures of Binance's combined streams: `<receive time in ms, us or ns> <message as JSON>` a line.

Trades come from `@trade`, of a symbol that has none in the head of the capture from whichever of it and `@aggTrade` comes
first. Quotes come from `@bookTicker` where the head of the capture has it for the symbol, else from
the top of the book that `@depth` and the REST snapshot give. Tickers that begin behind the head are taken where that top
is not known. Coin-margined sizes are contracts, as the exchange says them. `ts_event` is the matching engine's time where
the message has it (`T`), else its sending time (`E`); the spot market's `bookTicker` has neither and is dated by
`SendClock`, as is a spot snapshot.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import DecodeError, ValidationError

from schemas.events import Quote, Trade
from streams.recordings.binance_messages import (
    DEPTH,
    DEPTH_STAMP,
    HEAD_LINE,
    LINE,
    TICKER,
    TRADES,
    AggregateTradeMessage,
    DepthMessage,
    HeadPayload,
    Line,
    Millis,
    TickerMessage,
    TradeMessage,
)
from streams.recordings.book import Diff, OrderBook, Top
from streams.recordings.lines import LineFile
from streams.recordings.recording import Recorded, letter
from streams.recordings.send_clock import SendClock, Stamp

HEAD: Final = 5_000
"""Lines that decide the market, and which symbols have `bookTicker`."""
STAMPS: Final = {13: 1_000_000, 16: 1_000, 19: 1}
"""Digits of a receive time to ns of its unit."""
LINE_HEAD: Final = re.compile(rb'(?:\d{13}|\d{16}|\d{19}) \s*\{\s*"')
NOT_TAKEN: Final = "no use for stream {!r} from here on: the quotes come from the book, which has a top"
NOT_TRADES: Final = "no use for stream {!r}: the trades of this symbol come from {}"
NOTHING_SAID: Final = HeadPayload()
MS: Final = 1_000_000


class BinanceCapture:
    """One capture of one market: spot (BINANCE), USD-margined (BINANCE_USDM) or coin-margined (BINANCE_COINM)."""

    symbols: frozenset[str] | None = None
    first_ns = 0
    numbered_by_time = False

    def __init__(self, file: LineFile, *, use_tickers: bool = True) -> None:
        """`use_tickers`: False takes every quote from the book."""
        self.file = file
        self.name = file.name
        self.use_tickers = use_tickers
        self.venue, seen = _look_at(file.head(HEAD))
        self._with_ticker = {name for name, kind in seen if kind == "bookTicker"} if use_tickers else set()
        self._with_depth = {name for name, kind in seen if kind == "depth"}
        self._with_trades = {name for name, kind in seen if kind == "trade"}

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.file.size

    @property
    def position(self) -> int:
        """Bytes of these read so far."""
        return self.file.position

    def items(self) -> Iterator[Recorded]:
        """Events in order of receipt, and dead letters."""
        playback = _Playback(self.name, self.venue, self._with_ticker, self._with_depth, self.use_tickers)
        playback.trades_from = dict.fromkeys(self._with_trades, "trade")
        for number, line in enumerate(self.file.lines(), 1):
            if not line.strip():
                continue
            try:
                yield from playback.read(number, line)
            except ValidationError as error:
                yield letter(self.name, number, "invalid_value", str(error), line)
            except (DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield letter(self.name, number, "undecodable", str(error), line)
        yield from playback.clock.rest()


class _Playback:
    """One pass over a capture: its clock and its books."""

    def __init__(self, name: str, venue: str, with_ticker: set[str], with_depth: set[str], use_tickers: bool) -> None:
        self.name, self.venue = name, venue
        self.with_ticker, self.with_depth, self.use_tickers = set(with_ticker), with_depth, use_tickers
        self.not_taken: set[str] = set()
        """Symbols of which it was said that their tickers are not used."""
        self.trades_from: dict[str, str] = {}
        """Symbol to the stream that gives its trades."""
        self.clock = SendClock()
        self.books: dict[str, OrderBook] = {}
        self.tops: dict[str, Top] = {}

    def read(self, number: int, line: bytes) -> Iterator[Recorded]:
        """What one line says. Raises: msgspec's errors for a body that is not what its stream declares."""
        head, _, body = line.partition(b" ")
        unit = STAMPS.get(len(head))
        if unit is None or not head.isdigit():
            detail = "expected 13, 16 or 19 digits of receive time and a space"
            yield letter(self.name, number, "undecodable", detail, line)
            return
        received = int(head) * unit
        message = LINE.decode(body)
        symbol, _, kind = message.stream.partition("@")
        if kind in TRADES:
            chosen = self.trades_from.setdefault(symbol, kind)
            if kind == chosen:
                yield from self._trade(received, TRADES[kind].decode(message.data))
            else:
                detail = NOT_TRADES.format(message.stream, chosen)
                yield letter(self.name, number, "unknown_type", detail, line)
        elif kind == "bookTicker":
            ticker = TICKER.decode(message.data)
            if symbol in self.with_ticker or self._taken_late(symbol, ticker):
                yield from self._ticker(received, ticker)
            elif self.use_tickers and symbol not in self.not_taken:
                self.not_taken.add(symbol)
                yield letter(self.name, number, "unknown_type", NOT_TAKEN.format(message.stream), line)
        elif kind == "depth" or kind.startswith("depth@"):
            if symbol in self.with_ticker:
                yield from self.clock.stamped(Stamp(received, DEPTH_STAMP.decode(message.data).sent * MS))
            else:
                yield from self._depth(number, received, DEPTH.decode(message.data), line)
        elif message.last_update_id is not None:
            yield from self._snapshot(number, received, message, line)
        elif message.stream:
            yield letter(self.name, number, "unknown_type", f"no use for stream {message.stream!r}", line)
        elif message.id is None:
            yield letter(self.name, number, "not_a_message", "expected a stream's message or a depth snapshot", line)

    def _trade(self, received: int, message: TradeMessage | AggregateTradeMessage) -> Iterator[Recorded]:
        yield from self.clock.stamped(Stamp(received, message.sent * MS))
        yield Trade(
            symbol=message.symbol, venue=self.venue, seq=message.id, ts_event=message.traded * MS, ts_ingest=0,
            price=message.price, size=message.size, side="sell" if message.maker_bought else "buy",
            trade_id=str(message.id), in_bars=message.kind == "MARKET",
        )  # fmt: skip

    def _taken_late(self, symbol: str, message: TickerMessage) -> bool:
        """Whether a symbol without tickers in the head has its quotes from them from now on."""
        book = self.books.get(message.symbol)
        if not self.use_tickers or (book is not None and book.top is not None):
            return False
        self.with_ticker.add(symbol)
        return True

    def _ticker(self, received: int, message: TickerMessage) -> Iterator[Recorded]:
        top = Top(message.bid, message.bid_size, message.ask, message.ask_size)
        yield from self._dated(
            received, message.sent, message.changed, self._quote(message.symbol, message.update, top)
        )

    def _depth(self, number: int, received: int, message: DepthMessage, line: bytes) -> Iterator[Recorded]:
        book = self.books.setdefault(message.symbol, OrderBook())
        known = book.last
        if book.apply(Diff(message.first, message.last, message.before, message.bids, message.asks)) == "gap":
            detail = f"update ids {message.first}..{message.last} do not follow {known}; no quotes until a snapshot"
            yield letter(self.name, number, "invalid_value", detail, line)
        quote = self._changed_top(message.symbol, book)
        if quote is None:
            yield from self.clock.stamped(Stamp(received, message.sent * MS))
        else:
            yield from self._dated(received, message.sent, message.changed, quote)

    def _snapshot(self, number: int, received: int, message: Line, line: bytes) -> Iterator[Recorded]:
        symbol = message.symbol or next(iter(self.with_depth), "").upper()
        if self.with_ticker >= self.with_depth or message.symbol.lower() in self.with_ticker:
            return
        if not message.symbol and len(self.with_depth) != 1:
            yield letter(self.name, number, "not_a_message", "a snapshot without symbol in a capture of several", line)
            return
        book = self.books.setdefault(symbol, OrderBook())
        if message.last_update_id is not None and not book.load(message.last_update_id, message.bids, message.asks):
            yield letter(self.name, number, "invalid_value", "the snapshot is older than the diffs that waited", line)
        quote = self._changed_top(symbol, book)
        if quote is not None:
            yield from self.clock.unstamped(received, quote)

    def _dated(self, received: int, sent: Millis | None, changed: Millis | None, quote: Quote) -> Iterator[Recorded]:
        if sent is None:
            yield from self.clock.unstamped(received, quote)
            return
        yield from self.clock.stamped(Stamp(received, sent * MS))
        yield Quote(
            symbol=quote.symbol, venue=quote.venue, seq=quote.seq, ts_event=(changed or sent) * MS, ts_ingest=0,
            bid=quote.bid, bid_size=quote.bid_size, ask=quote.ask, ask_size=quote.ask_size,
        )  # fmt: skip

    def _changed_top(self, symbol: str, book: OrderBook) -> Quote | None:
        top = book.top
        if top is None or top == self.tops.get(symbol):
            return None
        self.tops[symbol] = top
        return self._quote(symbol, book.last, top)

    def _quote(self, symbol: str, update: int, top: Top) -> Quote:
        return Quote(symbol=symbol, venue=self.venue, seq=update, ts_event=0, ts_ingest=0, **top._asdict())


def _look_at(head: Iterable[bytes]) -> tuple[str, set[tuple[str, str]]]:
    """The venue, and which streams (symbol as in the stream's name, kind) there are. A line that is no message says nothing."""
    seen: set[tuple[str, str]] = set()
    coin_margined = futures = False
    for line in head:
        try:
            found = HEAD_LINE.decode(line.partition(b" ")[2])
        except (DecodeError, UnicodeDecodeError, RecursionError):
            continue
        symbol, _, kind = found.stream.partition("@")
        kind, said = kind.partition("@")[0], found.data or NOTHING_SAID
        seen.add((symbol, kind))
        coin_margined = coin_margined or (said.pair or found.pair).endswith("USD") or "USD_" in said.symbol
        futures = futures or said.before is not None or said.kind is not None
        futures = futures or (kind == "bookTicker" and said.sent is not None)
        futures = futures or (kind == "aggTrade" and said.sent is not None and said.best is None)
    return "BINANCE_COINM" if coin_margined else "BINANCE_USDM" if futures else "BINANCE", seen
