"""Binance's messages as its documents have them: numbers are strings, times are milliseconds."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from schemas.events import MAX_NS, Price, QuoteSize, Seq, Size, Symbol

Millis = Annotated[int, Meta(ge=0, le=MAX_NS // 1_000_000)]
LevelPair = tuple[Price, QuoteSize]
NOTHING = Raw(b"null")


class Line(Struct, rename="camel"):
    """A message of a combined stream (`stream`, `data`), or the reply of a REST depth request (the rest)."""

    stream: str = ""
    data: Raw = NOTHING
    last_update_id: Seq | None = None
    bids: tuple[LevelPair, ...] = ()
    asks: tuple[LevelPair, ...] = ()
    symbol: str = ""
    """Futures only."""
    id: int | str | None = None
    """Of a subscribe request that is answered."""


class HeadPayload(Struct, rename={"symbol": "s", "pair": "ps", "before": "pu", "kind": "X", "sent": "E", "best": "M"}):
    """What tells the markets apart, of any stream's message."""

    symbol: str = ""
    pair: str = ""
    """Futures only; of coin-margined ones it ends in USD."""
    before: object = None
    kind: object = None
    sent: object = None
    best: object = None
    """Spot trades only."""


class HeadLine(Struct):
    """What a line says of its capture: the stream, the market."""

    stream: str = ""
    data: HeadPayload | None = None
    pair: str = ""
    """Of the coin-margined market's reply to a depth request."""


class Taken(Struct, rename={"symbol": "s", "price": "p", "size": "q", "maker_bought": "m", "sent": "E", "traded": "T"}):
    """What both kinds of trades say."""

    symbol: Symbol
    price: Price
    size: Size
    maker_bought: bool
    sent: Millis
    traded: Millis


class TradeMessage(Taken, rename={"id": "t", "kind": "X"}):
    """`@trade`."""

    id: Seq
    kind: str = "MARKET"
    """Futures: other kinds are made by the exchange (insurance fund, deleveraging)."""


class AggregateTradeMessage(Taken, rename={"id": "a"}):
    """`@aggTrade`: what one order took at one price, under a number of its own."""

    id: Seq
    kind: ClassVar[str] = "MARKET"


class TickerMessage(Struct, rename={"symbol": "s", "update": "u", "bid": "b", "bid_size": "B", "ask": "a",
                                    "ask_size": "A", "sent": "E", "changed": "T"}):  # fmt: skip
    """`@bookTicker`; the spot market's carries no time."""

    symbol: Symbol
    update: Seq
    bid: Price
    bid_size: QuoteSize
    ask: Price
    ask_size: QuoteSize
    sent: Millis | None = None
    changed: Millis | None = None


class DepthStamp(Struct, rename={"sent": "E", "changed": "T"}):
    """`@depth`, where only its time is wanted."""

    sent: Millis
    changed: Millis | None = None


class DepthMessage(Struct, rename={"symbol": "s", "first": "U", "last": "u", "before": "pu", "bids": "b", "asks": "a",
                                   "sent": "E", "changed": "T"}):  # fmt: skip
    """`@depth`: everything that changed by the updates `first` to `last`."""

    symbol: Symbol
    first: Seq
    last: Seq
    bids: tuple[LevelPair, ...]
    asks: tuple[LevelPair, ...]
    sent: Millis
    changed: Millis | None = None
    before: Seq | None = None


HEAD_LINE = Decoder(HeadLine, strict=False)
LINE = Decoder(Line, strict=False)
TRADES: Final[Mapping[str, "Decoder[TradeMessage] | Decoder[AggregateTradeMessage]"]] = {
    "trade": Decoder(TradeMessage, strict=False),
    "aggTrade": Decoder(AggregateTradeMessage, strict=False),
}
TICKER = Decoder(TickerMessage, strict=False)
DEPTH = Decoder(DepthMessage, strict=False)
DEPTH_STAMP = Decoder(DepthStamp, strict=False)
