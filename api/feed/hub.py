"""The feed: messages of the topics come in from a consumer's thread, are numbered, and go out to every subscriber."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from api.feed.channels import CHANNELS, EVERY_SYMBOL, Channel
from api.feed.client import Client
from api.feed.inbox import Inbox, Topical
from api.feed.limits import FeedLimits
from api.feed.messages import SERVICE_RESTART, Goodbye, encode
from api.feed.stream import Stream
from api.ports import Meter

DRAIN: Final = 256
"""Messages fanned out before the writers have their turn."""
RECONNECT_AFTER_MS: Final = 1_000
GOODBYE_S: Final = 2.0
_CHECK: Final = msgspec.json.Decoder(msgspec.Raw)


class FeedHub:
    """Numbers the messages of every `(channel, symbol)` and hands them to the clients that want them.

    `publish` and `publish_many` are for other threads; everything else belongs to the event loop. `now_ns`: the wall
    clock, which the messages show.
    """

    def __init__(
        self, meter: Meter, now_ns: Callable[[], int], limits: FeedLimits | None = None,
        channels: Mapping[str, Channel] = CHANNELS,
    ) -> None:  # fmt: skip
        self.epoch = secrets.token_hex(8)
        self.limits = limits or FeedLimits()
        self.channels = channels
        self.clients: dict[Client, None] = {}
        self.messages = 0
        """From the topics, since the start."""
        self.running = False
        self.stopping = False
        self._meter, self._now_ns = meter, now_ns
        self._inbox = Inbox(self._drain)
        self._streams: dict[str, dict[str, Stream]] = {channel: {} for channel in channels}
        self._newest_at: float | None = None
        self._gone = asyncio.Event()

    def publish(self, channel: str, symbol: str, payload: bytes) -> None:
        """One message as it stands in its topic; see `publish_many`."""
        self.publish_many([(channel, symbol, payload)])

    def publish_many(self, messages: Iterable[Topical]) -> None:
        """Messages `(channel, symbol, JSON)` in the order of their topics.

        From any thread but the loop's. Waits while the loop is far behind; messages for a hub that has stopped go to
        nobody. A payload that is no JSON is counted and left out. Raises: `ValueError` for an unknown channel.
        """
        messages = list(messages)
        for channel, _, _ in messages:
            if channel not in self.channels:
                raise ValueError(f"no channel {channel!r}; there are {sorted(self.channels)}")
        self._inbox.put(messages)

    async def run(self) -> None:
        """Deliver, and let every client hear from us each `heartbeat_s`, until cancelled."""
        loop = asyncio.get_running_loop()
        self._inbox.open(loop)
        self.running = True
        due = loop.time()
        try:
            while True:
                due = max(due + self.limits.heartbeat_s, loop.time())
                await asyncio.sleep(due - loop.time())
                for client in list(self.clients):
                    client.beat(self._wanted(client), self._now_ns())
        finally:
            self.running = False
            self._inbox.close()

    async def say_goodbye(self, reason: str = "shutdown") -> None:
        """Tell every client that we go, and wait until they are gone, two seconds at most."""
        self.stopping = True
        text = encode(Goodbye(reason=reason, reconnect_after_ms=RECONNECT_AFTER_MS))
        for client in list(self.clients):
            client.outbox.put(text)
            client.outbox.close(SERVICE_RESTART)
        try:
            async with asyncio.timeout(GOODBYE_S):
                while self.clients:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            self._meter.count("tickwire_feed_closed_total", len(self.clients), reason="goodbye_timeout")

    def join(self) -> Client:
        """A client without subscriptions."""
        client = Client(secrets.token_hex(8), self.limits)
        self.clients[client] = None
        self._meter.gauge("tickwire_feed_clients", len(self.clients))
        return client

    def leave(self, client: Client, reason: str) -> None:
        """Forget a client. `reason`: why its connection ended."""
        del self.clients[client]
        for streams in self._streams.values():
            for stream in streams.values():
                stream.outboxes.pop(client.outbox, None)
        self._meter.gauge("tickwire_feed_clients", len(self.clients))
        self._meter.count("tickwire_feed_closed_total", reason=reason)
        self._gone.set()

    def knows(self, symbol: str) -> bool:
        """Whether any message of the symbol has passed."""
        return symbol == EVERY_SYMBOL or any(symbol in streams for streams in self._streams.values())

    def has_newest(self, channel: str, symbol: str) -> bool:
        """Whether a snapshot of the pair can be made."""
        stream = self._streams[channel].get(symbol)
        return stream is not None and stream.newest is not None

    def seed(self, channel: str, symbol: str, payload: bytes) -> None:
        """What was newest before this epoch; ignored where a message has come since."""
        stream = self._stream(channel, symbol)
        if stream.newest is None:
            stream.newest = payload.decode()

    def attach(self, client: Client, channel: str, symbol: str, *, snapshot: bool) -> None:
        """Send what the client has subscribed to from now on; its snapshots first."""
        found = self._streams[channel].values() if symbol == EVERY_SYMBOL else [self._stream(channel, symbol)]
        for stream in found:
            stream.outboxes[client.outbox] = None
            if snapshot:
                client.outbox.begin(stream)

    def detach(self, client: Client, channel: str) -> None:
        """Send no more of what the client has unsubscribed from."""
        for stream in self._streams[channel].values():
            if client.outbox in stream.outboxes and not client.subscriptions.wants(channel, stream.symbol):
                del stream.outboxes[client.outbox]
                client.outbox.forget(stream)

    def idle_s(self) -> float | None:
        """Seconds since the newest message; none before the first."""
        return None if self._newest_at is None else asyncio.get_running_loop().time() - self._newest_at

    def _drain(self) -> None:
        since = self._inbox.since
        taken = self._inbox.take(DRAIN)
        refused: Counter[str] = Counter()
        for channel, symbol, payload in taken:
            try:
                _CHECK.decode(payload)
                text = payload.decode()
            except (msgspec.DecodeError, UnicodeDecodeError):
                refused[channel] += 1
                continue
            stream = self._streams[channel].get(symbol) or self._stream(channel, symbol)
            update = stream.advance(text)
            for outbox in stream.outboxes:
                outbox.offer(stream, update)
        if taken:
            self._measure(taken, refused, since)

    def _measure(self, taken: Sequence[Topical], refused: Mapping[str, int], since: float) -> None:
        self.messages += len(taken)
        self._newest_at = asyncio.get_running_loop().time()
        for channel, count in Counter(channel for channel, _, _ in taken).items():
            self._meter.count("tickwire_feed_messages_total", count, channel=channel)
        for channel, count in refused.items():
            self._meter.count("tickwire_feed_refused_total", count, channel=channel)
        self._meter.observe("tickwire_feed_fanout_seconds", self._newest_at - since)

    def _stream(self, channel: str, symbol: str) -> Stream:
        """The stream of the pair, made where it is new; who wants every symbol wants it, too."""
        stream = self._streams[channel].get(symbol)
        if stream is None:
            stream = self._streams[channel][symbol] = Stream(self.channels[channel], symbol)
            for client in self.clients:
                if client.subscriptions.wants_all(channel):
                    stream.outboxes[client.outbox] = None
        return stream

    def _wanted(self, client: Client) -> Mapping[str, Sequence[Stream]]:
        wanted: dict[str, Sequence[Stream]] = {}
        for channel, symbols in client.subscriptions.state().items():
            streams = self._streams[channel]
            if client.subscriptions.wants_all(channel):
                wanted[channel] = list(streams.values())
            else:
                wanted[channel] = [streams[symbol] for symbol in symbols]
        return wanted
