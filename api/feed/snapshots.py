"""The newest prediction of symbols from which nothing has come since we started."""

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from api.feed.channels import EVERY_SYMBOL
from api.feed.hub import FeedHub
from api.newest import Newest
from schemas.errors import BackendError
from schemas.rows import Latest, Prediction

CHANNEL: Final = "predictions"
_log = logging.getLogger("tickwire.feed")


class Snapshots:
    """Fills the hub from the newest rows, so that a snapshot has the shape of the updates that follow it."""

    def __init__(self, hub: FeedHub, newest: Newest) -> None:
        self._hub, self._newest = hub, newest

    async def fill(self, symbols: Sequence[str]) -> None:
        """Look up what is missing; where the store does not answer, the snapshot is left out and updates follow."""
        try:
            wanted = await self._newest.symbols() if EVERY_SYMBOL in symbols else symbols
            missing = [symbol for symbol in wanted if not self._hub.has_newest(CHANNEL, symbol)]
            rows = await self._newest.find_all(missing) if missing else []
        except BackendError as error:
            _log.warning("no snapshot: %s", error)
            return
        for row in rows:
            seq = row.seq if self._hub.log_id and self._hub.is_ours(row.log_id) else 0
            self._hub.seed(CHANNEL, row.symbol, msgspec.json.encode(prediction_of(row)), seq)

    async def unknown(self, symbols: Sequence[str]) -> Sequence[str]:
        """Those of which nobody has heard. Raises: `StoreUnavailable`."""
        asked = [symbol for symbol in symbols if not self._hub.knows(symbol)]
        if not asked:
            return []
        known = {row.symbol for row in await self._newest.find_all(asked)} | self._newest.unreadable
        return [symbol for symbol in asked if symbol not in known]


def prediction_of(row: Latest) -> Prediction:
    """The prediction in a newest row."""
    return Prediction(**{name: getattr(row, name) for name in Prediction.__struct_fields__})
