"""A symbol that always ticks, so that a client can be tried while nothing trades."""

import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from api.feed.channels import TEST_SYMBOL
from api.feed.inbox import Topical

NS: Final = 1_000_000_000
MOST: Final = 60
"""Seconds that are made up for after the clock was not looked at; more is a gap."""


class Ticking:
    """One trade, quote and prediction a second; the second is their number, so every server says the same.

    >>> [(m.channel, m.seq) for m in Ticking().until(1_700_000_000 * NS)]
    [('trades', 1700000000), ('quotes', 1700000000), ('predictions', 1700000000)]
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def until(self, now_ns: int) -> Iterator[Topical]:
        """What is due, up to this second."""
        second = now_ns // NS
        last = second - 1 if self._last is None else max(self._last, second - MOST)
        self._last = max(second, last)
        for each in range(last + 1, second + 1):
            yield from _ticks(each)


def _ticks(second: int) -> Iterator[Topical]:
    price = round(100 + math.sin(second / 60), 4)
    at = {"ts_event": second * NS, "ts_ingest": second * NS}
    trade = {"type": "trade", "venue": "TEST", "seq": second, **at, "price": price, "size": 1.0}
    sides = {"bid": price - 0.01, "bid_size": 1.0, "ask": price + 0.01, "ask_size": 1.0}
    quote = {"type": "quote", "venue": "TEST", "seq": second, **at, **sides}
    prediction = {**at, "price": price, "p_up": 0.5, "champion": "none", "online": None, "onnx": None, "seq": second}
    rows: dict[str, dict[str, Any]] = {"trades": trade, "quotes": quote, "predictions": prediction}
    for channel, row in rows.items():
        payload = msgspec.json.encode({**row, "symbol": TEST_SYMBOL, "test": True})
        yield Topical(channel, TEST_SYMBOL, payload, second)
