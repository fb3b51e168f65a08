"""What one client wants: pairs of channel and symbol, bounded in number."""

from collections.abc import Mapping, Sequence

from api.feed.channels import EVERY_SYMBOL, TEST_SYMBOL


class Subscriptions:
    """A set of `(channel, symbol)`; the symbol `*` stands for every one."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._count = 0
        self._symbols: dict[str, dict[str, None]] = {}

    def add(self, channel: str, symbol: str) -> bool:
        """False where there is no room for one more."""
        symbols = self._symbols.setdefault(channel, {})
        if symbol in symbols:
            return True
        if self._count >= self._at_most:
            return False
        symbols[symbol] = None
        self._count += 1
        return True

    def remove(self, channel: str, symbol: str) -> None:
        """Nothing happens where it was not there."""
        if symbol in self._symbols.get(channel, {}):
            del self._symbols[channel][symbol]
            self._count -= 1

    def wants(self, channel: str, symbol: str) -> bool:
        """Whether messages of this pair are to be sent."""
        symbols = self._symbols.get(channel, {})
        return symbol in symbols or (EVERY_SYMBOL in symbols and symbol != TEST_SYMBOL)

    def wants_all(self, channel: str) -> bool:
        """Whether symbols that are yet to come are wanted, too."""
        return EVERY_SYMBOL in self._symbols.get(channel, {})

    def state(self) -> Mapping[str, Sequence[str]]:
        """Everything subscribed to now, by channel."""
        return {channel: list(symbols) for channel, symbols in self._symbols.items() if symbols}
