"""The newest features of symbols that somebody wants, read where they are kept: they are on no topic."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from api.feed.channels import EVERY_SYMBOL, OF_FEATURES, TEST_SYMBOL
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from api.newest import Newest
from schemas.errors import BackendError
from schemas.rows import Latest

CHANNEL: Final = "features"
EVERY_S: Final = 0.25
MOST: Final = 256
"""Symbols of one look; the others have their turn next time."""
_log = logging.getLogger("tickwire.feed")


class FeatureFeed:
    """Looks four times a second, while somebody wants features, at symbols that have been scored since the last look."""

    def __init__(self, hub: FeedHub, newest: Newest) -> None:
        self._hub, self._newest = hub, newest
        self._looked: dict[str, int] = {}
        """Symbol to the number of the prediction in the row that was found, 0 without one; those longest ago first."""
        self._epoch = hub.epoch
        """Of those numbers."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            if CHANNEL in self._hub.asked:
                await self.look()

    async def look(self) -> None:
        """Read and deliver what may be new. A store that is away is told of, and asked again next time."""
        if self._epoch != self._hub.epoch:
            self._epoch = self._hub.epoch
            self._looked.clear()
        scored, wanted = self._hub.positions("predictions"), self._hub.wanted(CHANNEL)
        symbols = self._due(list(scored) if EVERY_SYMBOL in wanted else [*wanted], scored)
        try:
            found = await self._newest.find_all(symbols)
        except BackendError as error:
            _log.warning("no features: %s", error)
            return
        rows = {row.symbol: row for row in found if self._hub.is_ours(row.log_id)}
        for symbol in symbols:
            self._looked.pop(symbol, None)
            self._looked[symbol] = self._number(rows[symbol], scored.get(symbol, 0)) if symbol in rows else 0
        for row in rows.values():
            self._hub.deliver(Topical(CHANNEL, row.symbol, _payload(row), row.seq or None))

    def _number(self, row: Latest, scored: int) -> int:
        """Of the prediction in the row; that of the newest one where rows and messages are not numbered alike."""
        return row.seq if self._hub.log_id and row.seq else scored

    def _due(self, symbols: Sequence[str], scored: "dict[str, int]") -> Sequence[str]:
        """Those whose row may be new, those longest not looked at first; one whose row stays behind waits for its next turn."""
        moved = [
            symbol
            for symbol in symbols
            if symbol != TEST_SYMBOL and (symbol not in self._looked or self._looked[symbol] < scored.get(symbol, 0))
        ]
        order = {symbol: n for n, symbol in enumerate(self._looked)}
        return list(islice(sorted(moved, key=lambda symbol: order.get(symbol, -1)), MOST))


def _payload(row: Latest) -> bytes:
    """The features beside what they are of, so that columns can be chosen by a feature's name."""
    where = {name: getattr(row, name) for name in OF_FEATURES}
    return msgspec.json.encode({**where, "features_id": row.features_id, "seq": row.seq, **row.features})
