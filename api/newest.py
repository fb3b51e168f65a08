"""The newest row of a symbol, or the problem that there is none, with the symbols that may have been meant."""

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Final

from api.blocking import Blocking
from api.ports import LatestRows
from api.problems import Problem
from schemas.errors import SchemaError
from schemas.rows import Latest

SUGGESTIONS: Final = 3
CANDIDATES: Final = 2_000
"""Names compared at most: comparing costs about 20 µs each."""
_log = logging.getLogger("tickwire.api")


class Newest:
    """`LatestRows` for the event loop."""

    def __init__(self, latest: LatestRows) -> None:
        self._latest, self._blocking = latest, Blocking()
        self.unreadable: set[str] = set()
        """Symbols whose row, when it was last looked for among others, was of another build."""

    async def symbols(self) -> Sequence[str]:
        """Every symbol that has a row."""
        return await self._blocking.call(self._latest.symbols)

    async def find(self, symbol: str) -> Latest | None:
        """The row, or none."""
        return await self._latest.fetch(symbol)

    async def find_all(self, symbols: Sequence[str]) -> Sequence[Latest]:
        """The rows of those symbols that have one which can be read; one that cannot is told of once."""
        return await self._blocking.call(self._read_all, symbols)

    async def row(self, symbol: str) -> Latest:
        """The row. Raises: `Problem` unknown-symbol."""
        row = await self.find(symbol)
        if row is None:
            raise await self._blocking.call(self._unknown, symbol)
        return row

    async def must_know(self, symbol: str) -> None:
        """Raises: `Problem` unknown-symbol."""
        if await self.find(symbol) is None:
            raise await self._blocking.call(self._unknown, symbol)

    def _read_all(self, symbols: Sequence[str]) -> Sequence[Latest]:
        return [row for symbol in symbols if (row := self._read(symbol)) is not None]

    def _read(self, symbol: str) -> Latest | None:
        try:
            row = self._latest.read(symbol)
        except SchemaError as error:
            if symbol not in self.unreadable:
                self.unreadable.add(symbol)
                _log.warning("left out until its symbol trades again: %s", error)
            return None
        self.unreadable.discard(symbol)
        return row

    def _unknown(self, symbol: str) -> Problem:
        meant = similar(symbol, self._latest.symbols())
        hint = f"; did you mean {' or '.join(meant)}?" if meant else "; GET /v1/symbols lists those that have"
        return Problem("unknown-symbol", f"no symbol {symbol} has a newest row{hint}", suggestions=meant)


def similar(symbol: str, known: Sequence[str]) -> Sequence[str]:
    """Known symbols that look like this one, the best first, whatever their case.

    >>> similar("btcusd", ["BTC-USD", "ETH-USD", "SIMA"])
    ['BTC-USD']
    """
    first = symbol[:1].casefold()
    by_folded = dict(islice(((name.casefold(), name) for name in known if name[:1].casefold() == first), CANDIDATES))
    return [by_folded[folded] for folded in get_close_matches(symbol.casefold(), by_folded, SUGGESTIONS)]
