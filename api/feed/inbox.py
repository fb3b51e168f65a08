"""Where a consumer's thread hands messages to the event loop: one wake-up for all that wait, and a bound."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition
from typing import Final, NamedTuple


class Topical(NamedTuple):
    """A message for the feed: the JSON as it stands in its topic, and its number, if it has one."""

    channel: str
    symbol: str
    payload: bytes
    seq: int | None = None
    revises: bool = False


Item = Topical | Callable[[], None]
"""A message, or what is to be done between the messages before it and those after it."""
CAPACITY: Final = 65_536
"""Messages; a publisher waits beyond it, so that a stalled loop becomes consumer lag and not memory."""
MIN_INTERVAL_S: Final = 0.002
"""Between two wake-ups: bounds what a trickle of single messages costs, and adds no more than this to their way."""


class Inbox:
    """A bounded queue from threads to the loop."""

    def __init__(self, drain: Callable[[], None], capacity: int = CAPACITY) -> None:
        self._drain = drain
        self._capacity = capacity
        self._messages: deque[Item] = deque()
        self._changed = Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake = False
        self._closed = False
        self._next_wake = 0.0
        self.since = 0.0
        """Loop time when the oldest message that waits may have come."""

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to deliver on `loop`, what waits already included."""
        with self._changed:
            self._loop = loop
            self._closed = False
            if self._messages:
                self._wake(loop)

    def close(self) -> None:
        """Let every publisher go; what they bring from now on goes to nobody."""
        with self._changed:
            self._closed = True
            self._messages.clear()
            self._changed.notify_all()

    def put(self, messages: Iterable[Item]) -> None:
        """Hand messages over, in order. From any thread but the loop's; waits while the inbox is full."""
        with self._changed:
            while len(self._messages) >= self._capacity and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            self._messages.extend(messages)
            if self._loop is not None and not self._awake and self._messages:
                self._wake(self._loop)

    def take(self, at_most: int) -> list[Item]:
        """The oldest messages. On the loop, any number of times in one call of `drain`; then comes `rest`."""
        with self._changed:
            taken = [self._messages.popleft() for _ in range(min(at_most, len(self._messages)))]
            self._changed.notify_all()
        return taken

    def rest(self) -> None:
        """Nothing more is taken in this call of `drain`: it is called again soon where more waits."""
        with self._changed:
            if self._messages and self._loop is not None:
                self._loop.call_soon(self._drain)
            else:
                self._awake = False

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._awake = True
        self.since = loop.time()
        loop.call_soon_threadsafe(self._paced_drain, loop)

    def _paced_drain(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        at = max(now, self._next_wake)
        self._next_wake = at + MIN_INTERVAL_S
        if at > now:
            loop.call_at(at, self._drain)
        else:
            self._drain()
