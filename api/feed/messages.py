"""What client and server say on `/v1/stream`.

A client sends one JSON object a message. The server sends frames; every frame is a JSON array of messages, and every
message has a `type`. Types and fields that a client does not know must be ignored: they are how this protocol grows.

`seq` counts the messages of one `(channel, symbol)` from 1 within an `epoch`, the same for every client. A client that
has seen `seq` n sees n + 1 next, or n + 1 + `conflated`, or a `gap`. An `epoch` lasts as long as the server process.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

SLOW_CLIENT: Final = 4008
BAD_MESSAGES: Final = 4000
UNAUTHENTICATED: Final = 4001
"""Nothing good was shown within 5 s; see `api.feed.entry`."""
KEY_ENDED: Final = 4003
"""The key or token was revoked, or its time is over; the connection was fine until then."""
SERVICE_RESTART: Final = 1012
CLOSE_CODES: Final[Mapping[int, str]] = {
    BAD_MESSAGES: "bad_messages", SLOW_CLIENT: "slow_client", UNAUTHENTICATED: "unauthenticated",
    KEY_ENDED: "key_ended", SERVICE_RESTART: "goodbye",
}  # fmt: skip
"""Why the server closes a connection; 1009 is a message that was too large."""

Id = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[str, Meta(max_length=64)] | None
Name = Annotated[str, Meta(max_length=32)]
Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1_000)]


class Subscribe(Struct, frozen=True, kw_only=True, tag_field="op", tag="subscribe"):
    """Add every pair of channel and symbol; `*` is every symbol, those to come included."""

    channels: Names
    symbols: Names
    id: Id = None
    snapshot: bool = True
    """Begin with the newest message of every symbol, in channels that conflate."""
    conflate_ms: Annotated[int, Meta(ge=0)] | None = None
    """At most one message a symbol in so many ms, for the whole connection; 0 ends it; left out changes nothing."""


class Unsubscribe(Struct, frozen=True, kw_only=True, tag_field="op", tag="unsubscribe"):
    """Take every pair of channel and symbol away."""

    channels: Names
    symbols: Names
    id: Id = None


class Ping(Struct, frozen=True, kw_only=True, tag_field="op", tag="ping"):
    """Ask for a pong."""

    id: Id = None


Op = Subscribe | Unsubscribe | Ping
OPS: Final[msgspec.json.Decoder[Op]] = msgspec.json.Decoder(Op)


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
        "unknown_channel", "forbidden_channel", "unknown_symbol", "too_many_subscriptions", "symbols_unavailable"
    ]
    channel: str = ""
    symbol: str = ""


class Ack(Struct, frozen=True, kw_only=True, tag="ack"):
    """An op was done: everything this connection is subscribed to now, and what was not taken."""

    id: Id
    op: str
    subscriptions: Mapping[str, Sequence[str]]
    conflate_ms: int
    rejected: Sequence[Rejected]


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


class Error(Struct, frozen=True, kw_only=True, tag="error"):
    """A message of the client that was not understood, or was one too many; the connection goes on."""

    code: Literal["bad_json", "bad_message", "rate_limited"]
    message: str


class Goodbye(Struct, frozen=True, kw_only=True, tag="goodbye"):
    """The server stops on purpose; the connection is closed next."""

    reason: str
    reconnect_after_ms: int


Message = Welcome | Ack | Heartbeat | Pong | Gap | Error | Goodbye
_ENCODER: Final = msgspec.json.Encoder()


def encode(message: Message) -> str:
    """The message as JSON text, ready to be put into a frame."""
    return _ENCODER.encode(message).decode()
