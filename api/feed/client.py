"""One connected client as the hub sees it."""

from collections.abc import Mapping, Sequence

from api.feed.limits import FeedLimits
from api.feed.messages import Heartbeat
from api.feed.outbox import Outbox
from api.feed.stream import Stream
from api.feed.subscriptions import Subscriptions
from api.feed.views import JSON, View


class Client:
    """What it wants, what waits for it, and how often its heart has beaten."""

    def __init__(self, session: str, limits: FeedLimits, view: View = JSON) -> None:
        self.session = session
        self.outbox = Outbox(limits, view)
        self.asked: set[str] = set()
        """Channels that it wants something of, or is about to."""
        self.subscriptions = Subscriptions(limits.max_subscriptions)
        self._pairs = limits.heartbeat_pairs
        self._beats = 0
        self._next: dict[str, int] = {}

    def beat(self, streams: Mapping[str, Sequence[Stream]], server_time: int) -> None:
        """Queue a heartbeat. `streams`: those the client is subscribed to, by channel."""
        self._beats += 1
        seqs = {channel: self._some(channel, found) for channel, found in streams.items()}
        self.outbox.say(Heartbeat(n=self._beats, server_time=server_time, seqs=seqs))

    def _some(self, channel: str, streams: Sequence[Stream]) -> Mapping[str, int]:
        """The sequence numbers of the next few streams in turn, so that a heartbeat stays small."""
        begin = self._next.get(channel, 0) if len(streams) > self._pairs else 0
        turn = streams[begin : begin + self._pairs]
        self._next[channel] = begin + self._pairs if begin + self._pairs < len(streams) else 0
        return {stream.symbol: seq for stream in turn if (seq := self.outbox.given(stream)) is not None}
