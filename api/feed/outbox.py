"""What waits for one client: bounded, in order, conflated where the client is behind.

All of it happens on the event loop, and nothing here waits for the network: the fan-out puts in, the client's own writer
takes out.
"""

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Final

from api.feed.limits import FeedLimits
from api.feed.messages import SLOW_CLIENT, Gap, encode
from api.feed.stream import Stream

_SNAPSHOT: Final = -1


class Outbox:
    """The queue of one client.

    A stream that conflates waits only as its name while the client is behind (or asked for a pace): what is sent is
    its newest message at that time. The other streams wait in full; where they do not fit the client is too slow.
    """

    def __init__(self, limits: FeedLimits) -> None:
        self._limits = limits
        self._queue: deque[str] = deque()
        self._chars = 0
        self._stale: OrderedDict[Stream, int] = OrderedDict()
        """Streams of which only the newest message goes out, with the seq that the client was given before."""
        self._lost: OrderedDict[Stream, int] = OrderedDict()
        """Streams whose messages did not fit, with the first seq that did not."""
        self._behind = False
        self._pace_s = 0.0
        self._next_stale = 0.0
        self._ready = asyncio.Event()
        self.closing: int | None = None
        """The code to close with once everything has been sent."""
        self.conflated = 0
        """Messages skipped for newer ones, since somebody looked."""
        self.gaps = 0
        """Gap messages sent, since somebody looked."""

    @property
    def chars(self) -> int:
        """How much text waits."""
        return self._chars

    @property
    def finished(self) -> bool:
        """Everything has been sent, and the connection is to be closed."""
        return self.closing is not None and not self._queue and not self._lost

    def put(self, text: str) -> None:
        """Queue a message that is not part of a stream."""
        if self._chars + len(text) > self._limits.queue_chars:
            self.close(SLOW_CLIENT)
            return
        self._append(text)

    def offer(self, stream: Stream, text: str) -> None:
        """The newest message of a stream, just counted."""
        if stream.channel.conflates and (self._behind or self._pace_s or stream in self._stale):
            if not self._stale or not self._pace_s:
                self._ready.set()
            self._stale.setdefault(stream, stream.seq - 1)
        elif self.closing is not None or self._chars + len(text) > self._limits.queue_chars:
            self._lost.setdefault(stream, stream.seq)
            self.close(SLOW_CLIENT)
        else:
            self._append(text)
            self._behind = self._behind or self._chars > self._limits.behind_chars

    def begin(self, stream: Stream) -> None:
        """Start a stream with its newest message, if it has one."""
        if stream.newest is not None:
            self._stale[stream] = _SNAPSHOT
            self._next_stale = 0.0
            self._ready.set()

    def forget(self, stream: Stream) -> None:
        """The client does not want the stream any more."""
        self._stale.pop(stream, None)

    def pace(self, seconds: float) -> None:
        """At most one message a conflating stream in so many seconds; 0 for every message."""
        self._pace_s = seconds
        self._ready.set()

    def given(self, stream: Stream) -> int | None:
        """The seq of the stream up to which everything was queued or skipped; none before its snapshot."""
        seq = self._stale.get(stream, stream.seq)
        return None if seq == _SNAPSHOT or stream in self._lost else seq

    def close(self, code: int) -> None:
        """Send what waits, then close; the first reason stays."""
        self.closing = self.closing or code
        self._ready.set()

    def take(self, now: float) -> str | None:
        """The next frame, a JSON array of messages; none while there is nothing to send. `now`: the loop's time."""
        parts: list[str] = []
        size = 0
        while self._queue and size < self._limits.frame_chars:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        self._chars -= size
        if not self._queue:
            if self.closing is not None:
                self._take_lost(parts)
            elif self._stale and now >= self._next_stale:
                self._take_stale(parts)
                self._next_stale = now if self._stale else now + self._pace_s
            self._behind = self._behind and bool(self._stale)
        return f"[{','.join(parts)}]" if parts else None

    async def wait(self, now: float) -> None:
        """Return when `take` may have a frame."""
        self._ready.clear()
        if not self._stale:
            await self._ready.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._next_stale - now):
                await self._ready.wait()

    def _append(self, text: str) -> None:
        self._queue.append(text)
        self._chars += len(text)
        self._ready.set()

    def _take_stale(self, parts: list[str]) -> None:
        size = 0
        while self._stale and size < self._limits.frame_chars:
            stream, given = self._stale.popitem(last=False)
            if given == _SNAPSHOT:
                parts.append(stream.snapshot())
            else:
                self.conflated += stream.seq - given - 1
                parts.append(stream.update_after(given))
            size += len(parts[-1])

    def _take_lost(self, parts: list[str]) -> None:
        size = 0
        while self._lost and size < self._limits.frame_chars:
            stream, first = self._lost.popitem(last=False)
            gap = Gap(
                channel=stream.channel.name, symbol=stream.symbol, first=first, last=stream.seq, reason="slow_client"
            )
            parts.append(encode(gap))
            self.gaps += 1
            size += len(parts[-1])
