"""A client of the feed that notices everything: gaps, silence, restarts; and that comes back by itself, where it was.

    async with Feed("ws://127.0.0.1:8000/v1/stream", [Want(["predictions"], ["*"])]) as feed:
        async for message in feed:          # snapshots, updates, revisions, and a `Missed` for every gap
            ...

After a lost connection it connects again with jitter, says where it was, and goes on: what it missed comes first. What is
not held any more by then is a `Missed`, as soon as the numbers tell. Without anything from the server for `silence_s` the
connection counts as lost.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

import msgspec
import websockets

from schemas.errors import TickwireError

SUBPROTOCOL: Final = "tickwire.v1.json"
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 10.0
OPEN_S: Final = 10.0
RESUME_CHARS: Final = 48_000
"""Of the numbers in one message; the server takes 64 KiB."""
REFUSED: Final = frozenset({400, 401, 403, 404})
"""Answers to the handshake that trying again does not change."""
RATE_LIMITED: Final = "rate_limited"
REFUSED_CHANNEL: Final = frozenset({"unknown_channel", "forbidden_channel"})


class FeedError(TickwireError):
    """The server refuses us, or something was missed and `strict` asks to hear of it."""


@dataclass(frozen=True)
class Want:
    """What to subscribe to."""

    channels: Sequence[str]
    symbols: Sequence[str] = ("*",)
    snapshot: bool = True
    conflate_ms: int | None = None
    columns: Sequence[str] | None = None


class Message(msgspec.Struct, frozen=True):
    """A message of a stream: `snapshot`, `update`, or `revise`. `conflated`: how many it stands for beside itself."""

    type: str
    channel: str
    symbol: str
    seq: int
    data: Any
    conflated: int = 0


class Missed(msgspec.Struct, frozen=True):
    """Messages of a stream that did not come, after `after` and before whatever comes next; and why, as far as we know."""

    channel: str
    symbol: str
    after: int
    why: str


Heard: TypeAlias = Message | Missed


class _Any(msgspec.Struct):
    """Any message of the server."""

    type: str
    channel: str = ""
    symbol: str = ""
    seq: int = 0
    prev: int | None = None
    conflated: int = 0
    data: Any = None
    to: int = 0
    reason: str = ""
    epoch: str = ""
    seqs: Mapping[str, Mapping[str, int]] = {}
    reconnect_after_ms: int = 0
    recovered: Mapping[str, Mapping[str, bool]] = {}
    id: Any = None
    code: str = ""
    message: str = ""
    rejected: Sequence[Mapping[str, Any]] = ()


_FRAME: Final = msgspec.json.Decoder(list[_Any])


@dataclass
class Positions:
    """Where a client is in every stream, and what that says about the next message. No network, no clock."""

    epoch: str = ""
    last: dict[tuple[str, str], int] = field(default_factory=dict)
    returned: bool = False
    """We have been here before: a stream that we do not know has begun while we were away."""
    whole: set[str] = field(default_factory=set)
    """Channels to which the server listened before we left: it has whatever has begun there since then."""

    def resume(self, want: Want) -> tuple[Mapping[str, Mapping[str, int]], Sequence[Missed]]:
        """By channel and symbol, the last number that we have; and what does not fit into one message, which is missed."""
        told: dict[str, dict[str, int]] = {}
        missed: list[Missed] = []
        room = RESUME_CHARS
        for (channel, symbol), seq in list(self.last.items()):
            if channel in want.channels and seq > 0 and (symbol in want.symbols or "*" in want.symbols):
                room -= len(symbol) + len(str(seq)) + 4
                if room > 0:
                    told.setdefault(channel, {})[symbol] = seq
                else:
                    del self.last[channel, symbol]
                    missed.append(Missed(channel, symbol, seq, "too_many"))
        return told, missed

    def hear(self, message: _Any) -> list[Heard]:
        """What a message of the server means for its reader: nothing, itself, or that something was missed before it."""
        match message.type:
            case "update" | "revise":
                return self._update(message)
            case "snapshot":
                return self._snapshot(message)
            case "gap":
                return self._miss(message.channel, message.symbol, message.to, message.reason)
            case "heartbeat":
                return self._heartbeat(message)
            case "welcome":
                return self._welcome(message)
            case "ack":
                self._acknowledge(message)
        return []

    def _update(self, message: _Any) -> list[Heard]:
        stream = (message.channel, message.symbol)
        last = self.last.get(stream)
        if last is not None and message.seq <= last:
            return []
        self.last[stream] = message.seq
        follows = message.seq - 1 - message.conflated if message.prev is None else message.prev
        begins = last is None and self._may_have_begun_before(message)
        if last is None:
            last = 0 if self.returned else follows
        missed = begins or follows > last or (message.prev is not None and follows != last)
        told: list[Heard] = [Missed(*stream, last, "gap")] if missed else []
        return [*told, _told(message)]

    def _may_have_begun_before(self, message: _Any) -> bool:
        """Whether it is only the first that the server knows of, and others may have come while neither of us listened."""
        return self.returned and message.prev == 0 and message.seq > 1 and message.channel not in self.whole

    def _snapshot(self, message: _Any) -> list[Heard]:
        stream = (message.channel, message.symbol)
        last = self.last.get(stream, 0 if self.returned else message.seq)
        if message.seq > 0:
            self.last[stream] = message.seq
        told: list[Heard] = [Missed(*stream, last, "snapshot")] if message.seq > last + 1 else []
        return [*told, _told(message)]

    def _miss(self, channel: str, symbol: str, to: int, why: str) -> list[Heard]:
        last = self.last.get((channel, symbol))
        if last is not None and to <= last:
            return []
        self.last[channel, symbol] = to
        return [Missed(channel, symbol, last or 0, why)]

    def _heartbeat(self, message: _Any) -> list[Heard]:
        missed: list[Heard] = []
        for channel, seqs in message.seqs.items():
            for symbol, seq in seqs.items():
                if seq > 0 and self.last.setdefault((channel, symbol), 0 if self.returned else seq) < seq:
                    missed += self._miss(channel, symbol, seq, "heartbeat")
        return missed

    def _welcome(self, message: _Any) -> list[Heard]:
        """Numbers of another log say nothing about this one."""
        before, self.epoch = self.epoch, message.epoch
        self.returned = before != ""
        self.whole.clear()
        if before in ("", message.epoch):
            return []
        self.returned = False
        missed: list[Heard] = [Missed(*stream, seq, "new_log") for stream, seq in self.last.items()]
        self.last.clear()
        return missed

    def _acknowledge(self, message: _Any) -> None:
        """Who can go on where we were was there when we left."""
        whole = {channel for channel, streams in message.recovered.items() if all(streams.values())}
        self.whole = (self.whole - message.recovered.keys()) | whole


def _told(message: _Any) -> Message:
    return Message(message.type, message.channel, message.symbol, message.seq, message.data, message.conflated)


@dataclass
class Feed:
    """The feed at `url`, as an asynchronous iterator that ends only when it is closed.

    strict     raise `FeedError` for a gap instead of telling it       silence_s   hearing nothing for so long is a loss
    headers    of the handshake, such as an API key                    record      is given every frame as it came
    """

    url: str
    wants: Sequence[Want]
    strict: bool = False
    silence_s: float = 5.0
    headers: Mapping[str, str] = field(default_factory=dict)
    record: Callable[[str], None] = lambda _: None
    first_wait_s: float = FIRST_WAIT_S
    positions: Positions = field(default_factory=Positions)
    connects: int = 0
    """Connections that were made."""
    silences: int = 0
    """Connections that were given up because nothing came, be it within `silence_s`, or an answer while they were made."""
    _socket: websockets.ClientConnection | None = None
    _closed: bool = False
    _tries: int = 0
    _wait_s: float = 0.0
    """As the server asked for when it said goodbye."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End; the iterator stops."""
        self._closed = True
        if self._socket is not None:
            await self._socket.close()

    async def __aiter__(self) -> AsyncIterator[Heard]:
        while not self._closed:
            with suppress(OSError, TimeoutError, websockets.ConnectionClosed, websockets.InvalidMessage):
                await self._connect()
                while not self._closed:
                    for heard in await self._receive():
                        if self.strict and isinstance(heard, Missed):
                            raise FeedError(
                                f"{heard.channel} {heard.symbol}: messages after {heard.after} are missing ({heard.why})"
                            )
                        yield heard
            if not self._closed:
                await self._pause()

    async def _connect(self) -> None:
        try:
            self._socket = await websockets.connect(
                self.url, additional_headers=dict(self.headers), compression=None, open_timeout=OPEN_S,
                close_timeout=1, max_size=None, subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
            )  # fmt: skip
        except TimeoutError:
            self.silences += 1
            raise
        except websockets.InvalidStatus as error:
            if error.response.status_code in REFUSED:
                raise FeedError(f"{self.url}: the server refuses us: {error.response.body!r}") from error
            raise OSError(str(error)) from error
        self.connects += 1

    async def _receive(self) -> list[Heard]:
        """One frame; the subscription follows the welcome, which says whether our numbers still mean something."""
        assert self._socket is not None
        try:
            async with asyncio.timeout(self.silence_s):
                frame = await self._socket.recv()
        except TimeoutError:
            self.silences += 1
            raise
        self.record(str(frame))
        heard: list[Heard] = []
        for message in _FRAME.decode(frame):
            heard += self.positions.hear(message)
            if message.type == "welcome":
                heard += await self._subscribe()
            elif message.type in ("ack", "error"):
                self._check_answer(message)
            elif message.type == "heartbeat":
                self._tries = 0
            elif message.type == "goodbye":
                self._wait_s = message.reconnect_after_ms / 1_000
        return heard

    def _check_answer(self, message: _Any) -> None:
        """Without its subscription nothing would ever come. Raises: `OSError` where it was one too many, else `FeedError`."""
        if message.id not in range(len(self.wants)):
            return
        if message.type == "error" and message.code == RATE_LIMITED:
            raise ConnectionError(message.message)
        refused = [f"{each['code']}: {each['channel']}" for each in message.rejected if each["code"] in REFUSED_CHANNEL]
        if message.type == "error":
            refused = [f"{message.code}: {message.message}"]
        if refused:
            raise FeedError(f"{self.url}: the server refuses the subscription: {', '.join(refused)}")

    async def _subscribe(self) -> list[Heard]:
        assert self._socket is not None
        missed: list[Heard] = []
        for number, want in enumerate(self.wants):
            resume, too_many = self.positions.resume(want)
            missed += too_many
            op: dict[str, Any] = {
                "op": "subscribe", "id": number, "channels": want.channels, "symbols": want.symbols,
                "snapshot": want.snapshot, "conflate_ms": want.conflate_ms, "columns": want.columns,
            }  # fmt: skip
            op |= {"epoch": self.positions.epoch, "resume": resume} if resume else {}
            await self._socket.send(msgspec.json.encode(op).decode())
        return missed

    async def _pause(self) -> None:
        """Wait with jitter, longer each time, so that a server that comes back is not overrun."""
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None
        longest = min(LONGEST_WAIT_S, self.first_wait_s * 2**self._tries)
        self._tries += 1
        wait, self._wait_s = self._wait_s, 0.0
        await asyncio.sleep(wait + longest * random.uniform(0.5, 1.0))  # noqa: S311
