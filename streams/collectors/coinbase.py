"""Coinbase Exchange: what its WebSocket and REST messages say, as events. Pure; the waiting is done elsewhere.

A trade's number is its `trade_id` (REST and WebSocket agree on it; it grows by one per product), a quote's is the
message's `sequence`. Prices and sizes are strings of decimals. `side` of a match is the maker's: the aggressor is the other.
Source: the exchange's own documentation of the channels `matches`, `ticker` and `heartbeat`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from schemas.errors import InputError, SchemaError
from schemas.events import Event, Heartbeat, Price, Quote, QuoteSize, Seq, Side, Size, Symbol, Trade

VENUE: Final = "COINBASE"
CHANNELS: Final = ("matches", "ticker", "heartbeat")
AGGRESSOR: Final[dict[str, Side]] = {"buy": "sell", "sell": "buy"}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

Time: TypeAlias = Annotated[datetime, Meta(tz=True)]


class Match(Struct, frozen=True, gc=False):
    """A trade: `match`, or `last_match` for the one before the subscription; REST says the same without product."""

    trade_id: Seq
    time: Time
    price: Price
    size: Size
    side: Literal["buy", "sell"]
    product_id: Symbol = ""


class Ticker(Struct, frozen=True, gc=False):
    """Best bid and offer after a trade; older messages come without sizes."""

    product_id: Symbol
    sequence: Seq
    time: Time
    best_bid: Price
    best_ask: Price
    best_bid_size: QuoteSize = 0.0
    best_ask_size: QuoteSize = 0.0


class Beat(Struct, frozen=True, gc=False):
    """One a second and product: the newest trade that the exchange knows of."""

    product_id: Symbol
    sequence: Seq
    last_trade_id: Seq
    time: Time


class Refusal(Struct, frozen=True, gc=False):
    """The exchange does not accept what we asked for."""

    message: str = ""
    reason: str = ""


class Other(Struct, frozen=True, gc=False):
    """A kind of message that says nothing to us: `subscriptions`, and kinds that are yet to come."""

    type: str


Message: TypeAlias = Match | Ticker | Beat | Other
_KINDS: Final[dict[str, Any]] = {
    "match": Match, "last_match": Match, "ticker": Ticker, "heartbeat": Beat, "error": Refusal,
}  # fmt: skip
_DECODERS: Final = {name: msgspec.json.Decoder(kind, strict=False) for name, kind in _KINDS.items()}
_KIND: Final = msgspec.json.Decoder(Other)
_MATCHES: Final = msgspec.json.Decoder(list[Match], strict=False)


def subscribe(products: Sequence[str]) -> str:
    """The one message that we send."""
    return msgspec.json.encode(
        {"type": "subscribe", "product_ids": list(products), "channels": list(CHANNELS)}
    ).decode()


def decode(payload: bytes) -> Message:
    """One WebSocket message.

    Raises: `SchemaError` for bytes that are none; `InputError` with the exchange's reason where it refuses us.
    """
    try:
        other = _KIND.decode(payload)
        decoder = _DECODERS.get(other.type)
        message = other if decoder is None else decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"Coinbase message: {error}") from error
    if isinstance(message, Refusal):
        raise InputError(f"Coinbase refused the subscription: {message.message}: {message.reason}; check the products")
    if isinstance(message, Match) and not message.product_id:
        raise SchemaError("Coinbase message: Object missing required field `product_id`")
    return message


def decode_trades(payload: bytes) -> list[Match]:
    """A page of `/products/{id}/trades`, newest first as it comes. Raises: `SchemaError`."""
    try:
        return _MATCHES.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"Coinbase trades: {error}") from error


def ns(time: datetime) -> int:
    """Nanoseconds since the epoch, exactly; the exchange gives microseconds."""
    return (time - EPOCH) // MICROSECOND * 1_000


def trade(match: Match, product: str, ts_ingest: int) -> Trade:
    """The trade of a match."""
    return Trade(
        symbol=product, venue=VENUE, seq=match.trade_id, ts_event=ns(match.time), ts_ingest=ts_ingest,
        price=match.price, size=match.size, side=AGGRESSOR[match.side], trade_id=str(match.trade_id),
    )  # fmt: skip


def quote(ticker: Ticker, ts_ingest: int) -> Quote:
    """The quote of a ticker; its trade is told by the match."""
    return Quote(
        symbol=ticker.product_id, venue=VENUE, seq=ticker.sequence, ts_event=ns(ticker.time), ts_ingest=ts_ingest,
        bid=ticker.best_bid, bid_size=ticker.best_bid_size, ask=ticker.best_ask, ask_size=ticker.best_ask_size,
    )  # fmt: skip


def beat(ts_event: int, ts_ingest: int, state: Literal["up", "down"] = "up") -> Heartbeat:
    """A heartbeat of the venue; the exchange's own numbers are per product, so the time is the number."""
    return Heartbeat(venue=VENUE, seq=ts_event // 1_000, ts_event=ts_event, ts_ingest=ts_ingest, state=state)


def parse(payload: bytes, ts_ingest: int) -> list[Event]:
    """The events of one WebSocket message: one or none. `ts_ingest` in ns.

    Raises: `SchemaError` for bytes that are no such message; `InputError` where the exchange refuses us.
    """
    match decode(payload):
        case Match() as message:
            return [trade(message, message.product_id, ts_ingest)]
        case Ticker() as message:
            return [quote(message, ts_ingest)]
        case Beat() as message:
            return [beat(ns(message.time), ts_ingest)]
        case _:
            return []
