"""The feed: messages of the topics come in from a consumer's thread, are numbered, and go out to every subscriber."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from api.feed.channels import CHANNELS, EVERY_SYMBOL, TEST_SYMBOL, Channel
from api.feed.client import Client
from api.feed.directory import Directory
from api.feed.inbox import Inbox, Item, Topical
from api.feed.limits import FeedLimits
from api.feed.messages import SERVICE_RESTART, Goodbye
from api.feed.stream import Held, Stream
from api.feed.ticking import Ticking
from api.feed.views import view_of
from api.ports import Meter

DRAIN: Final = 256
"""Messages fanned out before the writers, and requests, have their turn."""
DRAIN_S: Final = 0.002
"""Seconds after which they have it anyway: a request needs several turns, and many come late where each is long."""
PIECE: Final = 32
BEATS: Final = 8
"""Heartbeats queued before the others have their turn; one may name hundreds of streams."""
RECONNECT_AFTER_MS: Final = 1_000
GOODBYE_S: Final = 2.0
_CHECK: Final = msgspec.json.Decoder(msgspec.Raw)
NEW_LOG: Final = "new_log"


class FeedHub:
    """Hands the messages of every `(channel, symbol)`, in the order of their numbers, to the clients that want them.

    `publish`, `publish_many` and `between` are for other threads; everything else belongs to the event loop. `now_ns`: the
    wall clock, which the messages show. `epoch`: the log whose numbers the messages bear; without one its name is a new one,
    and every log is ours.
    """

    def __init__(
        self, meter: Meter, now_ns: Callable[[], int], limits: FeedLimits | None = None,
        channels: Mapping[str, Channel] = CHANNELS, epoch: str = "",
    ) -> None:  # fmt: skip
        self.epoch = epoch or secrets.token_hex(8)
        self.log_id = epoch
        """Of the log whose numbers the messages bear; empty where nobody knows."""
        self.limits = limits or FeedLimits()
        self.channels = channels
        self.clients: dict[Client, None] = {}
        self.messages = 0
        """From the topics, since the start."""
        self.running = False
        self.stopping = False
        self.asked: frozenset[str] = frozenset()
        """Channels that somebody wants something of; may be read by any thread."""
        self.filling: set[str] = set()
        """Channels of which what was said before we listened is still to come."""
        self._meter, self._now_ns = meter, now_ns
        self._inbox = Inbox(self._drain)
        self._streams = Directory(channels)
        self._held = Held(self.limits.held_bytes)
        self._ticks = Ticking()
        self._newest_at: float | None = None
        self._gone = asyncio.Event()
        self._filled = asyncio.Event()

    def publish(self, channel: str, symbol: str, payload: bytes) -> None:
        """One message as it stands in its topic; see `publish_many`."""
        self.publish_many([Topical(channel, symbol, payload)])

    def publish_many(self, messages: Iterable[tuple[str, str, bytes] | Item]) -> None:
        """Messages in the order of their topics; those without a number are counted here, those with one come once.

        What is to be done between two of them, as for `between`, stands between them. From any thread but the loop's. Waits
        while the loop is far behind; messages for a hub that has stopped go to nobody. A payload that is no JSON is counted
        and left out. Raises: `ValueError` for an unknown channel.
        """
        items = [Topical(*each) if isinstance(each, tuple) else each for each in messages]
        for item in items:
            if isinstance(item, Topical) and item.channel not in self.channels:
                raise ValueError(f"no channel {item.channel!r}; there are {sorted(self.channels)}")
        self._inbox.put(items)

    def between(self, do: Callable[[], None]) -> None:
        """Call `do` on the loop once everything that was published before has been delivered. From any thread."""
        self._inbox.put([do])

    async def run(self) -> None:
        """Deliver, and let every client hear from us each `heartbeat_s`, until cancelled."""
        loop = asyncio.get_running_loop()
        self._inbox.open(loop)
        self.running = True
        due = loop.time()
        try:
            while True:
                self._tick()
                due = max(due + self.limits.heartbeat_s, loop.time())
                await asyncio.sleep(due - loop.time())
                self.asked = frozenset(channel for client in self.clients for channel in client.asked)
                await self._beat()
        finally:
            self.running = False
            self._inbox.close()

    async def _beat(self) -> None:
        for number, client in enumerate(list(self.clients), 1):
            if client in self.clients:  # it may have left meanwhile
                client.beat(self._streams.wanted(client.subscriptions), self._now_ns())
            if number % BEATS == 0:
                await asyncio.sleep(0)

    async def say_goodbye(self, reason: str = "shutdown") -> None:
        """Tell every client that we go, and wait until they are gone, two seconds at most."""
        self.stopping = True
        self._send_away(reason)
        try:
            async with asyncio.timeout(GOODBYE_S):
                while self.clients:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            self._meter.count("tickwire_feed_closed_total", len(self.clients), reason="goodbye_timeout")

    def begin_epoch(self, epoch: str) -> None:
        """From here on numbers are of another log: nothing is held of the one before, and every client comes anew."""
        self.epoch = self.log_id = epoch
        self.forget(self.channels)
        self._send_away(NEW_LOG)

    def forget(self, channels: Collection[str]) -> None:
        """Nobody knows what was said in these channels up to here: their streams begin anew, for who wants them."""
        for channel in channels:
            for stream in self._streams.remove(channel):
                for outbox in stream.outboxes:
                    outbox.forget(stream)
                self._stream(channel, stream.symbol).replace(stream)

    def filled(self, channels: Collection[str]) -> None:
        """What was said before we listened has come."""
        self.filling -= set(channels)
        self._filled.set()

    async def ask(self, client: Client, channels: Collection[str]) -> None:
        """The client is about to want these channels; returns once they are filled, or after `fill_timeout_s`."""
        client.asked |= set(channels)
        self.asked |= client.asked
        try:
            async with asyncio.timeout(self.limits.fill_timeout_s):
                while not self.filling.isdisjoint(channels):
                    self._filled.clear()
                    await self._filled.wait()
        except TimeoutError:
            self._meter.count("tickwire_feed_unfilled_total")

    def join(self, *, packed: bool = False) -> Client:
        """A client without subscriptions. `packed`: it speaks msgpack."""
        client = Client(secrets.token_hex(8), self.limits, view_of(packed))
        self.clients[client] = None
        self._meter.gauge("tickwire_feed_clients", len(self.clients))
        return client

    def leave(self, client: Client, reason: str) -> None:
        """Forget a client. `reason`: why its connection ended."""
        del self.clients[client]
        for stream in self._streams:
            stream.outboxes.pop(client.outbox, None)
        self._meter.gauge("tickwire_feed_clients", len(self.clients))
        self._meter.count("tickwire_feed_closed_total", reason=reason)
        self._gone.set()

    def knows(self, symbol: str) -> bool:
        """Whether any message of the symbol has passed."""
        return symbol in (EVERY_SYMBOL, TEST_SYMBOL) or self._streams.knows(symbol)

    def has_newest(self, channel: str, symbol: str) -> bool:
        """Whether a snapshot of the pair can be made."""
        stream = self._streams.find(channel, symbol)
        return stream is not None and stream.newest is not None

    def wanted(self, channel: str) -> Collection[str]:
        """Symbols of the channel that some client is subscribed to, `*` for every one."""
        return {symbol for client in self.clients for symbol in client.subscriptions.state().get(channel, ())}

    def positions(self, channel: str) -> dict[str, int]:
        """Symbol to the number of its newest message; 0 before the first."""
        return {stream.symbol: stream.seq for stream in self._streams.every(channel)}

    def is_ours(self, log_id: str) -> bool:
        """Whether numbers of this log mean something here."""
        return self.log_id in ("", log_id)

    def seed(self, channel: str, symbol: str, payload: bytes, seq: int = 0) -> None:
        """What was newest before this hub began; ignored where a message has come since.

        Its number is left unknown where clients wait for messages of the stream: those up to it are still to come to them.
        """
        stream = self._stream(channel, symbol)
        if stream.newest is None:
            stream.seed(payload.decode(), 0 if stream.outboxes else seq)

    def can_resume(self, channel: str, symbol: str, seq: int) -> bool:
        """Whether everything after the message `seq` is held."""
        stream = self._streams.find(channel, symbol)
        return stream is not None and stream.place(seq) is not None

    def attach(
        self, client: Client, channel: str, symbol: str, *, snapshot: bool, resume: Mapping[str, int] | None = None
    ) -> None:
        """Send what the client has subscribed to from now on: before it, what it missed since `resume`, or a snapshot."""
        found = self._streams.every(channel) if symbol == EVERY_SYMBOL else [self._stream(channel, symbol)]
        for stream in found:
            place = stream.place(resume[stream.symbol]) if resume and stream.symbol in resume else None
            attached = client.outbox in stream.outboxes
            stream.outboxes[client.outbox] = None
            if place is not None:
                client.outbox.recover(stream, place)
            elif snapshot:
                client.outbox.begin(stream, attached=attached)

    def detach(self, client: Client, channel: str) -> None:
        """Send no more of what the client has unsubscribed from."""
        for stream in self._streams.of(channel):
            if client.outbox in stream.outboxes and not client.subscriptions.wants(channel, stream.symbol):
                del stream.outboxes[client.outbox]
                client.outbox.forget(stream)
        if channel not in client.subscriptions.state():
            client.asked.discard(channel)

    def idle_s(self) -> float | None:
        """Seconds since the newest message; none before the first."""
        return None if self._newest_at is None else asyncio.get_running_loop().time() - self._newest_at

    def deliver(self, message: Topical) -> str:
        """Hand one message out; says why not: `refused`, `duplicate`, or empty."""
        channel, symbol, payload, seq, revises = message
        try:
            if seq is None:
                _CHECK.decode(payload)
            text = payload.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "refused"
        stream = self._streams.find(channel, symbol) or self._stream(channel, symbol)
        if seq is not None and seq <= stream.seq:
            return "duplicate"
        update = stream.advance(text, seq, revises=revises)
        self._held.keep(update)
        for outbox in stream.outboxes:
            outbox.offer(stream, update)
        update.gone_out()
        return "refused" if update.unsayable else ""

    def _drain(self) -> None:
        since, now = self._inbox.since, asyncio.get_running_loop().time
        passed: Counter[str] = Counter()
        left_out: Counter[tuple[str, str]] = Counter()
        until = now() + DRAIN_S
        try:
            for _ in range(DRAIN // PIECE):
                taken = self._inbox.take(PIECE)
                self._fan_out(taken, passed, left_out)
                if len(taken) < PIECE or now() > until:
                    break
        finally:
            self._inbox.rest()
        if passed:
            self._measure(passed, left_out, since)

    def _fan_out(self, taken: Sequence[Item], passed: Counter[str], left_out: Counter[tuple[str, str]]) -> None:
        for item in taken:
            if not isinstance(item, Topical):
                item()
                continue
            passed[item.channel] += 1
            why = "refused" if item.symbol == TEST_SYMBOL else self.deliver(item)
            if why:
                left_out[item.channel, why] += 1

    def _measure(self, passed: Mapping[str, int], left_out: Mapping[tuple[str, str], int], since: float) -> None:
        self.messages += sum(passed.values())
        self._newest_at = asyncio.get_running_loop().time()
        for channel, count in passed.items():
            self._meter.count("tickwire_feed_messages_total", count, channel=channel)
        for (channel, why), count in left_out.items():
            self._meter.count(f"tickwire_feed_{why}_total", count, channel=channel)
        self._meter.gauge("tickwire_feed_held_bytes", self._held.size)
        self._meter.observe("tickwire_feed_fanout_seconds", self._newest_at - since)

    def _tick(self) -> None:
        for message in self._ticks.until(self._now_ns()):
            if message.channel in self.channels:
                self.deliver(message)

    def _send_away(self, reason: str) -> None:
        for client in list(self.clients):
            client.outbox.say(Goodbye(reason=reason, reconnect_after_ms=RECONNECT_AFTER_MS))
            client.outbox.close(SERVICE_RESTART)

    def _stream(self, channel: str, symbol: str) -> Stream:
        """The stream of the pair, made where it is new; who wants every symbol wants it, too."""
        stream = self._streams.find(channel, symbol)
        if stream is None:
            stream = self._streams.add(channel, symbol)
            for client in self.clients:
                if client.subscriptions.wants_all(channel) and symbol != TEST_SYMBOL:
                    stream.outboxes[client.outbox] = None
        return stream
