"""EventBatch: a stretch of one partition's log as columns.

One row an event that is folded, in log order. Whether it came as one event or as 65,536 makes no difference to any bit
of what is computed from it.
"""

from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

NS: Final = 1_000_000_000

TRADE: Final = 0
QUOTE: Final = 1
NEWS: Final = 2
PRINT: Final = 3
"""A trade report that sets no price and no volume (an average price, an official open): a row, no indicator's input."""
KIND_NAMES: Final = ("trade", "quote", "news", "print")

Column: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Codes: TypeAlias = NDArray[np.int8]
Flags: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Columns of equal length n; floats are NaN where a row has no such value.

    kind         TRADE, QUOTE, NEWS or PRINT
    symbol       row of the symbol in every state array
    now          ns; newest event time of the symbol, never falls within a session
    price, size  of a trade, else NaN
    sign         of a trade: +1 bought, -1 sold (the venue's word, else quote rule, else tick rule), 0 unknown; else 0
    bid .. ask_size  as of this row, NaN before the session's first quote
    last         price of the last trade as of this row, NaN before the session's first
    mid          reference price: middle of bid and ask where quotes exist, else `last`
    sentiment    of a news row, in [-1, 1], else NaN
    session_open, session_close   ns; regular trading of the session this row belongs to
    """

    kind: Codes
    symbol: Rows
    now: Integers
    price: Column
    size: Column
    sign: Codes
    bid: Column
    bid_size: Column
    ask: Column
    ask_size: Column
    last: Column
    mid: Column
    sentiment: Column
    session_open: Integers
    session_close: Integers

    def __len__(self) -> int:
        return len(self.kind)

    def rows(self, start: int, stop: int) -> "EventBatch":
        """Rows `start` to `stop` as views."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name)[start:stop] for field in fields(self)}
        return EventBatch(**columns)
