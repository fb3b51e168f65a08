"""What client and server say on `/v1/stream`.

A client sends one JSON object a message. The server sends frames; every frame is a JSON array of messages, and every
message has a `type`. Types and fields that a client does not know must be ignored: they are how this protocol grows.
With the subprotocol `tickwire.v1.msgpack` the same objects and arrays are msgpack, in binary messages.

`seq` numbers the messages of one `(channel, symbol)` within an `epoch`, the same for every client, by every server, through
restarts. What follows the message n names it (`prev`: n), or has no `prev` and is n + 1, or n + 1 + `conflated`; all else is
a gap, whether or not a `gap` tells of it. What has a number that was seen already is to be ignored. An `epoch` is one events
log: numbers of another one mean nothing. A client that comes back says the last numbers that it has (`resume`), and gets
what it missed, as fast as it takes it, or hears in `ack` that it is not held any more, or in a `gap` that it was forgotten
since.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

SLOW_CLIENT: Final = 4008
BAD_MESSAGES: Final = 4000
UNAUTHENTICATED: Final = 4001
"""What was shown is not good; see `api.feed.entry`."""
KEY_ENDED: Final = 4003
"""The key or token was revoked, or its time is over; the connection was fine until then."""
TOO_MANY: Final = 4004
"""The caller has as many connections as it may have."""
AUTH_TOO_LATE: Final = 4005
"""Nothing was heard, or could be judged, within 5 s: nobody says that the key is wrong."""
SERVICE_RESTART: Final = 1012
CLOSE_CODES: Final[Mapping[int, str]] = {
    BAD_MESSAGES: "bad_messages", SLOW_CLIENT: "slow_client", UNAUTHENTICATED: "unauthenticated",
    KEY_ENDED: "key_ended", TOO_MANY: "too_many_connections", AUTH_TOO_LATE: "auth_too_late", SERVICE_RESTART: "goodbye",
}  # fmt: skip
"""Why the server closes a connection; 1009 is a message that was too large."""
CLOSE_ADVICE: Final[Mapping[int, str]] = {
    1009: "a message was larger than `limits.max_message_bytes`; send smaller ones",
    SERVICE_RESTART: "the server goes, or serves another log; come back after `goodbye.reconnect_after_ms`",
    BAD_MESSAGES: "more than `limits.max_bad_messages` messages were not understood; the `error` messages say why",
    UNAUTHENTICATED: "the first message showed no good key, and nothing before it did; come back with another",
    KEY_ENDED: "the key or token was revoked, or its time is over; come back with another",
    TOO_MANY: "this key has as many connections as one may have; close others, or use another key",
    AUTH_TOO_LATE: "no first message was heard and judged within 5 s; the key may be good, come back with the same",
    SLOW_CLIENT: "what waited for the client was more than its share; `gap` says what was left out. Ask for less, or conflate",
}
"""What a client is to do; codes below 4000 are WebSocket's own."""
UNSAYABLE: Final = "unsayable"
"""Why there is a gap in the place of a message that cannot be said in the client's format or columns."""

Id = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[str, Meta(max_length=64)] | None
Name = Annotated[str, Meta(max_length=32)]
Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1_000)]
Given = Annotated[int, Meta(ge=1, le=2**53)]


class Subscribe(Struct, frozen=True, kw_only=True, tag_field="op", tag="subscribe"):
    """Add every pair of channel and symbol; `*` is every symbol, those to come included."""

    channels: Names
    symbols: Names
    id: Id = None
    snapshot: bool = True
    """Begin with the newest message of every symbol, in channels that conflate."""
    conflate_ms: Annotated[int, Meta(ge=0)] | None = None
    """At most one message a symbol in so many ms, in these channels as far as they conflate; 0 ends it; left out changes
    nothing."""
    columns: Names | None = None
    """What `data` is to hold in these channels; `*` for everything, left out changes nothing."""
    epoch: Annotated[str, Meta(max_length=64)] = ""
    """Of the numbers in `resume`, as `welcome` named it."""
    resume: Mapping[Name, Mapping[Name, Given]] = {}
    """By channel and symbol, the last `seq` that the client has."""


class Unsubscribe(Struct, frozen=True, kw_only=True, tag_field="op", tag="unsubscribe"):
    """Take every pair of channel and symbol away."""

    channels: Names
    symbols: Names
    id: Id = None


class Named(Struct, frozen=True):
    """What can be told of a message that is not understood otherwise."""

    id: Id = None


class Ping(Struct, frozen=True, kw_only=True, tag_field="op", tag="ping"):
    """Ask for a pong."""

    id: Id = None


Op = Subscribe | Unsubscribe | Ping
OPS: Final[msgspec.json.Decoder[Op]] = msgspec.json.Decoder(Op)
PACKED_OPS: Final[msgspec.msgpack.Decoder[Op]] = msgspec.msgpack.Decoder(Op)
NAMED: Final = msgspec.json.Decoder(Named)
PACKED_NAMED: Final = msgspec.msgpack.Decoder(Named)


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may ask for."""

    max_subscriptions: int
    max_message_bytes: int
    max_conflate_ms: int
    max_bad_messages: int


class Welcome(Struct, frozen=True, kw_only=True, tag="welcome"):
    """The first message of a connection."""

    session: str
    epoch: str
    heartbeat_s: float
    server_time: int
    """ns since the Unix epoch."""
    channels: Sequence[str]
    limits: Limits


class Rejected(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a subscription that was not taken; `too_many_subscriptions` begins at this symbol of the channel."""

    code: Literal[
        "unknown_channel", "forbidden_channel", "unknown_symbol", "too_many_subscriptions", "symbols_unavailable",
        "unknown_column",
    ]  # fmt: skip
    channel: str = ""
    symbol: str = ""
    column: str = ""


class Ack(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="ack"):
    """An op was done: everything this connection is subscribed to now, and what was not taken."""

    id: Id
    op: str
    subscriptions: Mapping[str, Sequence[str]]
    conflate_ms: int
    """As it was asked for last."""
    rejected: Sequence[Rejected]
    recovered: Mapping[str, Mapping[str, bool]] = {}
    """Of everything in `resume`: whether what was missed follows. Where it does not, there is a gap, and a snapshot follows
    in channels that conflate."""


class Heartbeat(Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """We are alive; the sequence numbers that this client has been given by now, of some pairs in turn."""

    n: int
    server_time: int
    seqs: Mapping[str, Mapping[str, int]]


class Pong(Struct, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""

    id: Id
    server_time: int


class Gap(Struct, frozen=True, kw_only=True, tag="gap", rename={"first": "from", "last": "to"}):
    """Messages `from` to `to`, both included, will not come."""

    channel: str
    symbol: str
    first: int
    last: int
    reason: str


class Slow(Struct, frozen=True, kw_only=True, tag="slow"):
    """The client takes less than comes; the connection is closed next."""

    queued: int
    """Characters that waited when there was no more room."""
    limit: int


class Error(Struct, frozen=True, kw_only=True, tag="error"):
    """A message of the client that was not understood, or was one too many; the connection goes on."""

    code: Literal["bad_json", "bad_message", "rate_limited"]
    message: str
    id: Id = None
    """Of the client's message, where it can be told."""


class Goodbye(Struct, frozen=True, kw_only=True, tag="goodbye"):
    """The server stops on purpose; the connection is closed next."""

    reason: str
    reconnect_after_ms: int


class _OfStream(Struct, frozen=True, kw_only=True, omit_defaults=True):
    channel: str
    symbol: str
    seq: int
    data: Any
    """The topic's own JSON, or the columns of it that were asked for."""


class Snapshot(_OfStream, frozen=True, kw_only=True, omit_defaults=True, tag="snapshot"):
    """The newest message of a stream that begins here; `seq` is 0 where nobody knows its number."""


class Update(_OfStream, frozen=True, kw_only=True, omit_defaults=True, tag="update"):
    """The next message of a stream."""

    prev: int | None = None
    """The message before it, in channels whose numbers have holes: trades, quotes, news, alerts; 0 where the server knows of
    none, though there may have been one before it listened."""
    conflated: int = 0
    """Messages that were skipped for this newer one."""


class Revise(Update, frozen=True, kw_only=True, omit_defaults=True, tag="revise"):
    """The next message of a stream of bars: it takes the place of one that was sent before, with a higher `rev`."""


Message = Welcome | Ack | Heartbeat | Pong | Gap | Slow | Error | Goodbye
"""What is made for one client; the messages of streams are put together once for all, by `api.feed.stream`."""
OfStream = Snapshot | Update | Revise
