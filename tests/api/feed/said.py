"""What a flow has said, kept as its topics keep it, and the hubs that show it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from api.feed.hub import FeedHub
from api.feed.inbox import Topical

EPOCH = "log-1"
LINKED = ("trades", "alerts")


@dataclass
class SaidLog:
    """Numbered messages of some streams, in the order of their topics; `seq` of linked channels has holes."""

    messages: list[Topical] = field(default_factory=list)
    truth: dict[tuple[str, str], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    """By stream and number, what `data.n` says."""
    _offset: int = 0

    def say(self, channel: str, symbol: str) -> Topical:
        """One more message."""
        self._offset += 1
        stream = (channel, symbol)
        seq = self._offset if channel in LINKED else len(self.truth[stream]) + 1
        self.truth[stream][seq] = self._offset
        message = Topical(channel, symbol, msgspec.json.encode({"n": self._offset, "symbol": symbol}), seq)
        self.messages.append(message)
        return message

    def round(self, channels: Sequence[str], symbols: Sequence[str]) -> list[Topical]:
        """One message of every stream."""
        return [self.say(channel, symbol) for channel in channels for symbol in symbols]

    def tail(self, most: int) -> Iterator[Topical]:
        """What an API process reads again at its start."""
        yield from self.messages[-most:]


def hold(hub: FeedHub, log: SaidLog, most: int = 10**9) -> None:
    """Let a hub that has just begun read the log again; from the hub's own loop."""
    for message in log.tail(most):
        hub.deliver(message)
