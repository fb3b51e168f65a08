"""One channel of one symbol: its count, its newest message, and who wants it."""

from typing import TYPE_CHECKING

import msgspec

from api.feed.channels import Channel

if TYPE_CHECKING:
    from api.feed.outbox import Outbox


class Stream:
    """A numbered sequence of messages; the same numbers for every client."""

    __slots__ = ("_head", "channel", "newest", "outboxes", "seq", "symbol")

    def __init__(self, channel: Channel, symbol: str) -> None:
        self.channel = channel
        self.symbol = symbol
        self.seq = 0
        """Of the newest message; 0 before the first of this epoch."""
        self.newest: str | None = None
        """Its JSON, kept where the channel conflates."""
        self.outboxes: dict[Outbox, None] = {}
        name, quoted = msgspec.json.encode(channel.name).decode(), msgspec.json.encode(symbol).decode()
        self._head = f'","channel":{name},"symbol":{quoted},"seq":'

    def advance(self, text: str) -> str:
        """Count one message and wrap it: the topic's JSON goes out as it came in, made once for all clients."""
        self.seq += 1
        if self.channel.conflates:
            self.newest = text
        return f'{{"type":"update{self._head}{self.seq},"data":{text}}}'

    def update_after(self, given: int) -> str:
        """The newest message for a client whose last one was `given`; says how many it skips."""
        skipped = self.seq - given - 1
        note = f',"conflated":{skipped}' if skipped else ""
        return f'{{"type":"update{self._head}{self.seq}{note},"data":{self.newest}}}'

    def snapshot(self) -> str:
        """The newest message for a client that begins here."""
        return f'{{"type":"snapshot{self._head}{self.seq},"data":{self.newest}}}'
