"""All streams: by channel and symbol, and for who wants every symbol in the order in which they came."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from api.feed.channels import TEST_SYMBOL, Channel
from api.feed.stream import Stream
from api.feed.subscriptions import Subscriptions


class Directory:
    """The streams of these channels."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels
        self._streams: dict[str, dict[str, Stream]] = {channel: {} for channel in channels}
        self._every: dict[str, list[Stream]] = {channel: [] for channel in channels}

    def __iter__(self) -> Iterator[Stream]:
        """Every stream of every channel."""
        return chain.from_iterable(streams.values() for streams in self._streams.values())

    def find(self, channel: str, symbol: str) -> Stream | None:
        """The stream of the pair, if there is one."""
        return self._streams[channel].get(symbol)

    def add(self, channel: str, symbol: str) -> Stream:
        """A new stream, of a pair that has none."""
        stream = self._streams[channel][symbol] = Stream(self._channels[channel], symbol)
        if symbol != TEST_SYMBOL:
            self._every[channel].append(stream)
        return stream

    def remove(self, channel: str) -> Collection[Stream]:
        """Have none of this channel any more; those that there were, in their order."""
        removed = self._streams[channel].values()
        self._streams[channel], self._every[channel] = {}, []
        return removed

    def of(self, channel: str) -> Collection[Stream]:
        """Every stream of the channel."""
        return self._streams[channel].values()

    def every(self, channel: str) -> Sequence[Stream]:
        """What `*` stands for; one list for all who ask, which grows."""
        return self._every[channel]

    def knows(self, symbol: str) -> bool:
        """Whether any channel has a stream of the symbol."""
        return any(symbol in streams for streams in self._streams.values())

    def wanted(self, subscriptions: Subscriptions) -> Mapping[str, Sequence[Stream]]:
        """By channel, the streams subscribed to. Nothing is copied or looked at for a `*`: it is asked often, by many."""
        wanted: dict[str, Sequence[Stream]] = {}
        for channel, symbols in subscriptions.state().items():
            streams = self._streams[channel]
            if not subscriptions.wants_all(channel):
                wanted[channel] = [streams[symbol] for symbol in symbols]
            elif subscriptions.wants(channel, TEST_SYMBOL):
                wanted[channel] = [*self._every[channel], streams[TEST_SYMBOL]]
            else:
                wanted[channel] = self._every[channel]
        return wanted
