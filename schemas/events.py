"""What is on the events log: one tagged union, in total order per symbol.

Times are integers, nanoseconds since the Unix epoch. `ts_event` is the venue's clock, `ts_ingest` is ours. The identity
of an event is `(type, venue, symbol, seq)`; a venue that numbers nothing gets its numbers from the collector, made from
the order of arrival.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_NS = 4_102_444_800_000_000_000  # 2100-01-01: a later stamp is a mistake, and int64 stays safe under addition
MAX_SEQ = 2**63 - 1
MAX_PRICE = 1e12

Ns = Annotated[int, Meta(ge=0, le=MAX_NS)]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
Price = Annotated[float, Meta(gt=0, le=MAX_PRICE)]
Size = Annotated[float, Meta(gt=0, le=1e15)]
QuoteSize = Annotated[float, Meta(ge=0, le=1e15)]
Symbol = Annotated[str, Meta(min_length=1, max_length=32)]
Venue = Annotated[str, Meta(min_length=1, max_length=16)]
Note = Annotated[str, Meta(max_length=64)]
Side = Literal["buy", "sell", "unknown"]


class Trade(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="trade"):
    """One execution reported by a venue."""

    symbol: Symbol
    venue: Venue
    seq: Seq
    ts_event: Ns
    ts_ingest: Ns
    price: Price
    size: Size
    side: Side = "unknown"
    """Of the aggressor."""
    trade_id: Note = ""
    conditions: Note = ""
    in_bars: bool = True
    """False for prints that set no price and no volume: averages, out of sequence, official open and close."""


class Quote(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="quote"):
    """The best bid and offer after a change; both sides, always."""

    symbol: Symbol
    venue: Venue
    seq: Seq
    ts_event: Ns
    ts_ingest: Ns
    bid: Price
    bid_size: QuoteSize
    ask: Price
    ask_size: QuoteSize


class NewsSignal(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="news"):
    """What one news item says about one symbol."""

    symbol: Symbol
    venue: Venue
    """Where the item was published."""
    seq: Seq
    ts_event: Ns
    ts_ingest: Ns
    sentiment: Annotated[float, Meta(ge=-1, le=1)]
    item_id: Annotated[str, Meta(max_length=128)]
    words: Annotated[int, Meta(ge=0, le=10_000_000)] = 0


class Correction(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="correct"):
    """The venue corrects price and size of the trade `refers_seq`."""

    symbol: Symbol
    venue: Venue
    seq: Seq
    ts_event: Ns
    ts_ingest: Ns
    refers_seq: Seq
    price: Price
    size: Size


class Cancel(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="cancel"):
    """The venue takes the trade `refers_seq` back."""

    symbol: Symbol
    venue: Venue
    seq: Seq
    ts_event: Ns
    ts_ingest: Ns
    refers_seq: Seq


class Heartbeat(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="heartbeat"):
    """The feed of a venue is alive and has said everything up to `ts_event`; written to every partition."""

    venue: Venue
    seq: Seq
    ts_event: Ns
    ts_ingest: Ns
    state: Literal["up", "down"] = "up"

    @property
    def symbol(self) -> str:
        """None: it belongs to every symbol of the venue."""
        return ""


class SessionMark(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="session"):
    """Trading of a venue (or of one symbol) opens, closes, halts or resumes; written to every partition."""

    venue: Venue
    seq: Seq
    ts_event: Ns
    ts_ingest: Ns
    state: Literal["open", "close", "halt", "resume"]
    symbol: Annotated[str, Meta(max_length=32)] = ""


class Control(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag="control"):
    """A model or rule changes from this offset on; written to every partition."""

    topic: Literal["models", "rules"]
    id: Annotated[str, Meta(min_length=1, max_length=128)]
    ts_event: Ns
    ts_ingest: Ns
    body: str = ""
    """JSON of the new state."""

    @property
    def symbol(self) -> str:
        """None: it belongs to every partition."""
        return ""

    @property
    def venue(self) -> str:
        """None."""
        return ""


Event = Trade | Quote | NewsSignal | Correction | Cancel | Heartbeat | SessionMark | Control
MarketEvent = Trade | Quote | NewsSignal | Correction | Cancel
"""Events that belong to one symbol; the rest is written to every partition."""
EVENT_TYPES = (Trade, Quote, NewsSignal, Correction, Cancel, Heartbeat, SessionMark, Control)


class NewsItem(Struct, frozen=True, kw_only=True, gc=False):
    """A raw news item, tweet or filing, with the tickers it names."""

    item_id: Annotated[str, Meta(min_length=1, max_length=128)]
    source: Venue
    ts_event: Ns
    ts_ingest: Ns
    title: Annotated[str, Meta(max_length=4_000)]
    symbols: Annotated[tuple[Symbol, ...], Meta(max_length=200)] = ()
    body: Annotated[str, Meta(max_length=200_000)] = ""
    url: Annotated[str, Meta(max_length=2_000)] = ""
    language: Annotated[str, Meta(max_length=16)] = ""
