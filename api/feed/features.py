"""The newest features of symbols that somebody wants, read where they are kept: they are on no topic."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from api.feed.channels import EVERY_SYMBOL, TEST_SYMBOL
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
        """Symbol to the number of its newest prediction when it was looked at; those longest ago first."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            if CHANNEL in self._hub.asked:
                await self.look()

    async def look(self) -> None:
        """Read and deliver what may be new. A store that is away is told of, and asked again next time."""
        scored, wanted = self._hub.positions("predictions"), self._hub.wanted(CHANNEL)
        symbols = self._due(list(scored) if EVERY_SYMBOL in wanted else [*wanted], scored)
        try:
            rows = await self._newest.find_all(symbols)
        except BackendError as error:
            _log.warning("no features: %s", error)
            return
        for symbol in symbols:
            self._looked.pop(symbol, None)
            self._looked[symbol] = scored.get(symbol, 0)
        for row in rows:
            self._hub.deliver(Topical(CHANNEL, row.symbol, _payload(row), row.seq or None))

    def _due(self, symbols: Sequence[str], scored: "dict[str, int]") -> Sequence[str]:
        moved = [
            symbol
            for symbol in symbols
            if symbol != TEST_SYMBOL and (symbol not in self._looked or self._looked[symbol] != scored.get(symbol, 0))
        ]
        order = {symbol: n for n, symbol in enumerate(self._looked)}
        return list(islice(sorted(moved, key=lambda symbol: order.get(symbol, -1)), MOST))


def _payload(row: Latest) -> bytes:
    """The features beside what they are of, so that columns can be chosen by a feature's name."""
    where = {
        name: getattr(row, name)
        for name in ("symbol", "ts_event", "ts_ingest", "log_id", "src_partition", "src_offset")
    }
    return msgspec.json.encode({**where, "features_id": row.features_id, "seq": row.seq, **row.features})
