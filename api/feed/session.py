"""The conversation with one client: a reader that obeys, and a writer that alone sends."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from api.feed.channels import EVERY_SYMBOL
from api.feed.hub import FeedHub
from api.feed.limits import MAX_MESSAGE_BYTES
from api.feed.messages import (
    BAD_MESSAGES,
    CLOSE_CODES,
    NAMED,
    OPS,
    PACKED_NAMED,
    PACKED_OPS,
    SLOW_CLIENT,
    Ack,
    Error,
    Id,
    Limits,
    Op,
    Ping,
    Pong,
    Rejected,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from api.feed.snapshots import Snapshots
from api.feed.views import PACKED, Piece, view_of
from api.ports import Meter
from schemas.errors import BackendError

CLIENT_LEFT: Final = "client_left"
STALLED: Final = "stalled"


class Session:
    """One accepted connection, until either side ends it."""

    def __init__(
        self, websocket: WebSocket, hub: FeedHub, snapshots: Snapshots, meter: Meter, now_ns: Callable[[], int],
        allowed: Collection[str], permits: Callable[[], Awaitable[bool]],
    ) -> None:  # fmt: skip
        self._websocket, self._hub, self._snapshots = websocket, hub, snapshots
        self._meter, self._now_ns = meter, now_ns
        self._allowed, self._permits = allowed, permits
        self._limits = hub.limits
        self._packed = websocket.scope.get("subprotocol") == PACKED
        self._client = hub.join(packed=self._packed)
        self._bad = 0
        self._has_subscribed = False
        self._conflate_ms = 0

    async def run(self) -> None:
        """Welcome the client, then read and write until the connection ends."""
        self._client.outbox.say(self._welcome())
        reader, writer = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        reason = CLIENT_LEFT
        try:
            done, _ = await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            reason = self._reason([task.result() for task in done])
        finally:
            self._hub.leave(self._client, reason)
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def close(self, code: int) -> None:
        """End the connection with this code, once what waits is sent."""
        self._client.outbox.close(code)

    def _reason(self, ends: Sequence[str]) -> str:
        """Why it ended: what we had decided, else what the reader or the writer met."""
        if self._client.outbox.closing is not None:
            return CLOSE_CODES[self._client.outbox.closing]
        return STALLED if STALLED in ends else CLIENT_LEFT

    def _welcome(self) -> Welcome:
        return Welcome(
            session=self._client.session,
            epoch=self._hub.epoch,
            heartbeat_s=self._limits.heartbeat_s,
            server_time=self._now_ns(),
            channels=[channel for channel in self._hub.channels if channel in self._allowed],
            limits=Limits(
                max_subscriptions=self._limits.max_subscriptions,
                max_message_bytes=MAX_MESSAGE_BYTES,
                max_conflate_ms=self._limits.max_conflate_ms,
                max_bad_messages=self._limits.max_bad_messages,
            ),
        )

    async def _write(self) -> str:
        """Send whatever waits; returns why it ended."""
        outbox, loop = self._client.outbox, asyncio.get_running_loop()
        try:
            while not outbox.finished:
                frame = outbox.take(loop.time())
                if frame is None:
                    await outbox.wait(loop.time())
                    continue
                async with asyncio.timeout(self._limits.send_timeout_s):
                    await self._send(frame)
                self._measure(frame)
                if outbox.catching_up:
                    await asyncio.sleep(0)  # many frames wait: the others have their turn between them
            code = outbox.closing or 1000
            async with asyncio.timeout(self._limits.send_timeout_s):
                await self._websocket.close(code, CLOSE_CODES[code])
        except TimeoutError:
            return STALLED
        except WebSocketDisconnect:
            return CLIENT_LEFT
        return CLOSE_CODES[code]

    async def _send(self, frame: Piece) -> None:
        try:
            if isinstance(frame, str):
                await self._websocket.send_text(frame)
            else:
                await self._websocket.send_bytes(frame)
        except RuntimeError as error:  # uvicorn has closed the connection itself: no pong came
            raise WebSocketDisconnect(1006) from error

    def _measure(self, frame: Piece) -> None:
        outbox = self._client.outbox
        self._meter.count("tickwire_feed_frames_total")
        self._meter.count("tickwire_feed_sent_bytes_total", len(frame))
        if outbox.conflated:
            self._meter.count("tickwire_feed_conflated_total", outbox.conflated)
            outbox.conflated = 0
        if outbox.gaps:
            self._meter.count("tickwire_feed_gaps_total", outbox.gaps, reason=CLOSE_CODES[SLOW_CLIENT])
            outbox.gaps = 0

    async def _read(self) -> str:
        """Obey the client until it leaves."""
        while True:
            message: Any = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return CLIENT_LEFT
            await self._obey(message.get("text") or message.get("bytes") or b"")

    async def _obey(self, raw: str | bytes) -> None:
        op = self._understood(raw)
        if not self._is_first_subscribe(op) and not await self._permits():
            op = Error(code="rate_limited", message="too many messages; say less, or say it more slowly", id=op.id)
        match op:
            case Error():
                self._complain(op)
            case Subscribe():
                self._has_subscribed = True
                await self._subscribe(op)
            case Unsubscribe():
                self._unsubscribe(op)
            case Ping():
                self._client.outbox.say(Pong(id=op.id, server_time=self._now_ns()))

    def _is_first_subscribe(self, op: Op | Error) -> bool:
        """It is not counted: connections are, and after a restart all clients of a key come back at once."""
        return isinstance(op, Subscribe) and not self._has_subscribed

    def _understood(self, raw: str | bytes) -> Op | Error:
        try:
            return PACKED_OPS.decode(raw) if self._packed and isinstance(raw, bytes) else OPS.decode(raw)
        except msgspec.ValidationError as error:
            return Error(code="bad_message", message=str(error), id=self._id_in(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Error(code="bad_json", message=str(error))

    def _id_in(self, raw: str | bytes) -> Id:
        """Of a message that is not understood; None where there is none."""
        try:
            named = PACKED_NAMED.decode(raw) if self._packed and isinstance(raw, bytes) else NAMED.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return named.id

    def _complain(self, error: Error) -> None:
        self._client.outbox.say(error)
        self._bad += 1
        if self._bad > self._limits.max_bad_messages:
            self._client.outbox.close(BAD_MESSAGES)

    async def _subscribe(self, op: Subscribe) -> None:
        named = _once(op.channels)
        channels = [channel for channel in named if channel in self._allowed]
        rejected = [self._refused(name) for name in named if name not in channels]
        symbols, unknown = await self._known(_once(op.symbols)) if channels else ((), ())
        rejected += unknown
        rejected += self._show(op, channels)
        await self._hub.ask(self._client, channels)
        if op.snapshot and channels:
            await self._snapshots.fill(symbols)
        self._pace(op, channels)
        taken: list[tuple[str, str]] = []
        for channel in channels:
            for symbol in symbols:
                if not self._client.subscriptions.add(channel, symbol):
                    rejected.append(Rejected(code="too_many_subscriptions", channel=channel, symbol=symbol))
                    break
                taken.append((channel, symbol))
        resume = op.resume if op.epoch == self._hub.epoch else {}
        self._acknowledge(op, rejected, self._recovered(op, taken, resume))
        for channel, symbol in taken:
            self._hub.attach(self._client, channel, symbol, snapshot=op.snapshot, resume=resume.get(channel))

    def _show(self, op: Subscribe, channels: Sequence[str]) -> Sequence[Rejected]:
        """Choose the columns of the channels; a rejection for each that no message of the channel has."""
        rejected: list[Rejected] = []
        wanted = [name for name in _once(op.columns or ()) if name != EVERY_SYMBOL]
        for channel in channels if op.columns is not None else ():
            there = frozenset(self._hub.channels[channel].columns)
            unknown = [name for name in wanted if name not in there]
            rejected += [Rejected(code="unknown_column", channel=channel, column=name) for name in unknown]
            columns = tuple(name for name in wanted if name in there)
            self._client.outbox.show(channel, view_of(self._packed, columns))
        return rejected

    def _pace(self, op: Subscribe, channels: Sequence[str]) -> None:
        if op.conflate_ms is not None:
            self._conflate_ms = min(op.conflate_ms, self._limits.max_conflate_ms)
            paced = [channel for channel in channels if self._hub.channels[channel].conflates]
            self._client.outbox.pace(self._conflate_ms / 1_000, paced)

    def _recovered(
        self, op: Subscribe, taken: Sequence[tuple[str, str]], resume: Mapping[str, Mapping[str, int]]
    ) -> Mapping[str, Mapping[str, bool]]:
        """Of everything that was to be resumed, whether it can be."""
        pairs = set(taken)
        return {
            channel: {
                symbol: channel in resume
                and bool({(channel, symbol), (channel, EVERY_SYMBOL)} & pairs)
                and self._hub.can_resume(channel, symbol, seq)
                for symbol, seq in seqs.items()
            }
            for channel, seqs in op.resume.items()
        }

    def _refused(self, channel: str) -> Rejected:
        there = channel in self._hub.channels
        return Rejected(code="forbidden_channel" if there else "unknown_channel", channel=channel)

    async def _known(self, symbols: Sequence[str]) -> tuple[Sequence[str], Sequence[Rejected]]:
        """The symbols that exist, and a rejection for each that does not or that we can't tell."""
        code: Literal["unknown_symbol", "symbols_unavailable"] = "unknown_symbol"
        try:
            unknown = await self._snapshots.unknown(symbols)
        except BackendError:
            unknown, code = [symbol for symbol in symbols if not self._hub.knows(symbol)], "symbols_unavailable"
        left_out = frozenset(unknown)
        known = [symbol for symbol in symbols if symbol not in left_out]
        return known, [Rejected(code=code, symbol=symbol) for symbol in unknown]

    def _unsubscribe(self, op: Unsubscribe) -> None:
        named, symbols = _once(op.channels), _once(op.symbols)
        channels = [channel for channel in named if channel in self._hub.channels]
        for channel in channels:
            for symbol in symbols:
                self._client.subscriptions.remove(channel, symbol)
            self._hub.detach(self._client, channel)
        rejected = [Rejected(code="unknown_channel", channel=name) for name in named if name not in channels]
        self._acknowledge(op, rejected)

    def _acknowledge(
        self, op: Subscribe | Unsubscribe, rejected: Sequence[Rejected],
        recovered: Mapping[str, Mapping[str, bool]] | None = None,
    ) -> None:  # fmt: skip
        ack = Ack(
            id=op.id,
            op="subscribe" if isinstance(op, Subscribe) else "unsubscribe",
            subscriptions=self._client.subscriptions.state(),
            conflate_ms=self._conflate_ms,
            rejected=rejected,
            recovered=recovered or {},
        )
        self._client.outbox.say(ack)


def _once(names: Sequence[str]) -> Sequence[str]:
    """Each name where it comes first: what is asked for a thousand times is done once."""
    return tuple(dict.fromkeys(names))
