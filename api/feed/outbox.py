"""What waits for one client: bounded, in order, conflated where the client is behind.

All of it happens on the event loop, and nothing here waits for the network: the fan-out puts in, the client's own writer
takes out.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from api.feed.channels import CHANNELS
from api.feed.limits import FeedLimits
from api.feed.messages import SLOW_CLIENT, Gap, Message, Slow
from api.feed.stream import Given, Stream, Update
from api.feed.views import JSON, Piece, View, framed

_SNAPSHOT: Final = Given(-1, -1)
CONFLATING: Final = tuple(channel.name for channel in CHANNELS.values() if channel.conflates)


@dataclass(slots=True)
class _Lane:
    """One channel that conflates: streams of which only the newest message goes out, and up to where the client had them."""

    stale: OrderedDict[Stream, Given] = field(default_factory=OrderedDict)
    pace_s: float = 0.0
    next_at: float = 0.0


class Outbox:
    """The queue of one client.

    A stream that conflates waits only as its name while the client is behind (or asked for a pace): what is sent is
    its newest message at that time. The other streams wait in full; where they do not fit the client is too slow.
    """

    def __init__(self, limits: FeedLimits, view: View = JSON) -> None:
        self._limits = limits
        self._view = view
        self._views: dict[str, View] = {}
        self._queue: deque[Piece] = deque()
        self._chars = 0
        self._lanes: dict[str, _Lane] = {}
        self._missed: OrderedDict[Stream, Given] = OrderedDict()
        """Streams that the client has come back to, until it has what they hold, and up to where it has them."""
        self._lost: OrderedDict[Stream, int] = OrderedDict()
        """Streams whose messages did not fit, with the first seq that did not."""
        self._overflow: int | None = None
        """What waited when there was no more room, until the client is told."""
        self._behind = False
        self._ready = asyncio.Event()
        self.closing: int | None = None
        """The code to close with once everything has been sent."""
        self._leaving = False
        """The client is sent away, and not for being slow: it comes back for whatever is not queued yet."""
        self.conflated = 0
        """Messages skipped for newer ones, since somebody looked."""
        self.gaps = 0
        """Gap messages sent, since somebody looked."""

    @property
    def chars(self) -> int:
        """How much waits."""
        return self._chars

    @property
    def catching_up(self) -> bool:
        """There is more of what the client missed while it was away."""
        return bool(self._missed)

    @property
    def finished(self) -> bool:
        """Everything has been sent, and the connection is to be closed."""
        return self.closing is not None and not self._queue and not self._lost and self._overflow is None

    def say(self, message: Message) -> None:
        """Queue a message of our own."""
        self.put(self._view.encode(message))

    def put(self, piece: Piece) -> None:
        """Queue a message that is not part of a stream, encoded already; nothing comes behind a goodbye."""
        if self._leaving:
            return
        if self._chars + len(piece) > self._limits.queue_chars:
            self.close(SLOW_CLIENT)
            return
        self._append(piece)

    def offer(self, stream: Stream, update: Update) -> None:
        """A message of a stream, each after the one before it; nothing comes behind a goodbye."""
        if self._leaving:
            return
        if stream.channel.conflates:
            lane = self._lane(stream.channel.name)
            if self._behind or lane.pace_s or stream in lane.stale:
                if not lane.stale or not lane.pace_s:
                    self._ready.set()
                lane.stale.setdefault(stream, Given(update.prev, update.count - 1))
                return
        elif self._missed and stream in self._missed:
            return  # it is held, behind what the client is sent first
        piece = update.piece(self._views.get(stream.channel.name, self._view))
        if self.closing is not None or self._chars + len(piece) > self._limits.queue_chars:
            self._lost.setdefault(stream, update.seq)
            self.close(SLOW_CLIENT)
        else:
            self._append(piece)
            self._behind = self._behind or self._chars > self._limits.behind_chars

    def recover(self, stream: Stream, place: Given) -> None:
        """What the stream holds after this place comes first: at once where it conflates, else as fast as it is taken."""
        if stream.channel.conflates:
            stale = self._lane(stream.channel.name).stale
            for update in stream.after(place) or ():
                self.offer(stream, update)
                if stream in stale or stream in self._lost:
                    break  # its newest message stands for the others, or none of them fits
        elif place.passed < stream.count:
            self._missed[stream] = place
            self._ready.set()

    def begin(self, stream: Stream, *, attached: bool = False) -> None:
        """Start a stream with its newest message, if it has one. `attached`: it goes on, behind what waits of it already."""
        if stream.newest is not None:
            lane = self._lane(stream.channel.name)
            if attached:
                lane.stale.setdefault(stream, Given(stream.seq, stream.count))
            else:
                lane.stale[stream] = _SNAPSHOT
            lane.next_at = 0.0
            self._ready.set()

    def forget(self, stream: Stream) -> None:
        """The client does not want the stream any more."""
        self._missed.pop(stream, None)
        self._lane(stream.channel.name).stale.pop(stream, None)

    def pace(self, seconds: float, channels: Collection[str] = CONFLATING) -> None:
        """In these channels, at most one message a conflating stream in so many seconds; 0 for every message."""
        for channel in channels:
            self._lane(channel).pace_s = seconds
        self._ready.set()

    def show(self, channel: str, view: View) -> None:
        """Messages of the channel are to look like this from now on."""
        self._views[channel] = view

    def given(self, stream: Stream) -> int | None:
        """The seq of the stream up to which everything was queued or skipped; none before its snapshot."""
        given = self._missed.get(stream) or self._lane(stream.channel.name).stale.get(stream)
        seq = stream.seq if given is None else given.seq
        return None if given == _SNAPSHOT or stream in self._lost else seq

    def close(self, code: int) -> None:
        """Send what waits, then close; the first reason stays."""
        if self.closing is None:
            self.closing, self._leaving = code, code != SLOW_CLIENT
            self._overflow = None if self._leaving else self._chars
        self._ready.set()

    def take(self, now: float) -> Piece | None:
        """The next frame, an array of messages; none while there is nothing to send. `now`: the loop's time."""
        parts: list[Piece] = []
        size = 0
        while self._queue and size < self._limits.frame_chars:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        self._chars -= size
        if not self._queue:
            if self.closing is not None:
                self._take_farewell(parts)
            else:
                self._take_missed(parts, size)
                for lane in self._lanes.values():
                    if lane.stale and now >= lane.next_at:
                        self._take_stale(lane, parts)
                        lane.next_at = now if lane.stale else now + lane.pace_s
            self._behind = self._behind and any(lane.stale for lane in self._lanes.values())
        return framed(parts) if parts else None

    async def wait(self, now: float) -> None:
        """Return when `take` may have a frame."""
        self._ready.clear()
        due = [lane.next_at for lane in self._lanes.values() if lane.stale]
        if not due:
            await self._ready.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(min(due) - now):
                await self._ready.wait()

    def _lane(self, channel: str) -> _Lane:
        lane = self._lanes.get(channel)
        if lane is None:
            lane = self._lanes[channel] = _Lane()
        return lane

    def _append(self, piece: Piece) -> None:
        self._queue.append(piece)
        self._chars += len(piece)
        self._ready.set()

    def _take_missed(self, parts: list[Piece], size: int) -> None:
        """Of what the client missed, as much as makes half a frame: the newest of the other streams need not wait for it."""
        most = self._limits.frame_chars // 2
        while self._missed and size < most:
            stream, place = self._missed.popitem(last=False)
            missed = stream.after(place)
            if missed is None:
                parts.append(self._gap(stream, place.seq + 1))
                size += len(parts[-1])
                continue
            view = self._views.get(stream.channel.name, self._view)
            for update in missed:
                parts.append(update.piece(view))
                size += len(parts[-1])
                if size >= most:
                    if update.count < stream.count:
                        self._missed[stream] = Given(update.seq, update.count)
                    break

    def _take_stale(self, lane: _Lane, parts: list[Piece]) -> None:
        size = sum(map(len, parts))
        while lane.stale and size < self._limits.frame_chars:
            stream, given = lane.stale.popitem(last=False)
            view, newest = self._views.get(stream.channel.name, self._view), stream.newest
            if newest is None:
                continue
            if given == _SNAPSHOT or given.passed == newest.count:
                parts.append(newest.snapshot(view))
            else:
                self.conflated += newest.count - given.passed - 1
                parts.append(newest.after(given, view))
            size += len(parts[-1])

    def _take_farewell(self, parts: list[Piece]) -> None:
        """What did not fit, and why the connection is closed."""
        size = 0
        while self._lost and size < self._limits.frame_chars:
            stream, first = self._lost.popitem(last=False)
            parts.append(self._gap(stream, first))
            size += len(parts[-1])
        if not self._lost and self._overflow is not None:
            parts.append(self._view.encode(Slow(queued=self._overflow, limit=self._limits.queue_chars)))
            self._overflow = None

    def _gap(self, stream: Stream, first: int) -> Piece:
        """Everything of the stream from this number on does not come: the client was too slow for it."""
        self.gaps += 1
        gap = Gap(channel=stream.channel.name, symbol=stream.symbol, first=first, last=stream.seq, reason="slow_client")
        return self._view.encode(gap)
