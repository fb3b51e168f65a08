"""Trades that Coinbase Exchange still remembers, over REST: history for a first start, and what a lost connection missed."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import httpx2

from schemas.errors import InputError, SchemaError
from schemas.events import Trade
from streams.collectors.coinbase import Match, decode_trades, trade
from streams.ports import Clock

LOG: Final = logging.getLogger(__name__)
PAGE: Final = 1_000
"""Trades of one answer, the most that the exchange gives."""
MAX_PAGES: Final = 100
SPACING_S: Final = 0.125
"""Between two requests; the exchange allows ten a second."""
ATTEMPTS: Final = 3
FEW_ATTEMPTS: Final = 2
"""For what can be asked for again, when the next trade comes."""
PAGE_S: Final = 0.5
"""So much more time there is for each page that has come: a long outage is many pages."""


class CoinbaseRest:
    """The public part of the exchange's REST interface.

    base_url  for example `https://api.exchange.coinbase.com`
    """

    def __init__(self, base_url: str, clock: Clock, *, timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        self._client = httpx2.Client(base_url=base_url, timeout=timeout_s, headers={"User-Agent": "tickwire"})
        self._clock = clock

    def between(self, product: str, after_id: int, before_id: int | None = None, *, within_s: float) -> list[Match]:
        """Trades with `after_id < trade_id < before_id` (up to the newest where None), ascending.

        Fewer where the exchange does not answer within that time (and `PAGE_S` for each page), or does not remember them; a
        warning says so. Up to the newest, none at all where it does not answer: its newest alone would hide the others.
        Raises: `InputError` for a product that does not exist.
        """
        found: dict[int, Match] = {}
        cursor, until = before_id, time.monotonic() + within_s
        attempts = FEW_ATTEMPTS if before_id is None else ATTEMPTS
        for _ in range(MAX_PAGES):
            page = self._page(product, cursor, attempts, until)
            if page is None:
                if before_id is None:
                    return []
                break
            until += PAGE_S
            found.update((match.trade_id, match) for match in page if match.trade_id > after_id)
            oldest = min((match.trade_id for match in page), default=0)
            if oldest <= after_id + 1 or (cursor is not None and oldest >= cursor):
                break
            cursor = oldest
        return [found[trade_id] for trade_id in sorted(found) if before_id is None or trade_id < before_id]

    def recent(self, product: str, pages: int) -> list[Match]:
        """The newest `pages` thousand trades, ascending. Raises: `InputError` for a product that does not exist."""
        found: dict[int, Match] = {}
        cursor: int | None = None
        for _ in range(pages):
            page = self._page(product, cursor) or []
            found.update((match.trade_id, match) for match in page)
            if len(page) < PAGE:
                break
            cursor = min(match.trade_id for match in page)
        return [found[trade_id] for trade_id in sorted(found)]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _page(
        self, product: str, older_than: int | None, attempts: int = ATTEMPTS, until: float = math.inf
    ) -> list[Match] | None:
        """One page, newest first; None where every attempt failed. `until`: when to give up, of `time.monotonic`."""
        query = {"limit": PAGE} if older_than is None else {"limit": PAGE, "after": older_than}
        for attempt in range(1, attempts + 1):
            pause_s = SPACING_S * attempt**2
            if time.monotonic() + pause_s >= until:
                LOG.warning("Coinbase trades of %s: no time left for attempt %d", product, attempt)
                break
            self._clock.sleep(pause_s)
            try:
                return decode_trades(self._body(product, query, until))
            except (httpx2.HTTPError, SchemaError) as error:
                LOG.warning("Coinbase trades of %s, attempt %d of %d: %s", product, attempt, attempts, error)
        return None

    def _body(self, product: str, query: Mapping[str, int], until: float) -> bytes:
        """The whole answer; a timeout of the client is one of each wait, and an answer may come by drops."""
        wait_s = min(self._timeout_s, max(until - time.monotonic(), 0.001))
        timeout = httpx2.Timeout(wait_s, connect=wait_s / 2)
        with self._client.stream("GET", f"/products/{product}/trades", params=query, timeout=timeout) as answer:
            if answer.status_code == httpx2.codes.NOT_FOUND:
                raise InputError(f"Coinbase knows no product {product!r}; check the products")
            body = bytearray()
            for piece in answer.raise_for_status().iter_bytes():
                body += piece
                if time.monotonic() > until:
                    raise httpx2.ReadTimeout("the answer took too long", request=answer.request)
            return bytes(body)


def backfill(rest: CoinbaseRest, products: Sequence[str], pages: int, now_ns: Callable[[], int]) -> list[Trade]:
    """Recent trades of all products in order of time, `pages` thousand of each at most; for a first start.

    `now_ns`: the clock, asked once they are there. Raises: `InputError` for a product that does not exist.
    """
    found = [(match, product) for product in products for match in rest.recent(product, pages)]
    ts_ingest = now_ns()
    trades = [trade(match, product, ts_ingest) for match, product in found]
    return sorted(trades, key=lambda each: each.ts_event)


def newest_of(trades: Iterable[Trade]) -> Mapping[str, Trade]:
    """The trade with the highest number of each symbol: where the live feed goes on."""
    return {each.symbol: each for each in sorted(trades, key=lambda each: each.seq)}


def reachable(base_url: str, timeout_s: float = 3.0) -> bool:
    """Whether the exchange answers within `timeout_s`, name resolution included."""
    answered: list[bool] = []

    def ask() -> None:
        try:
            answered.append(httpx2.get(f"{base_url}/time", timeout=timeout_s).is_success)
        except (httpx2.HTTPError, OSError) as error:
            LOG.info("%s does not answer: %s", base_url, error)

    # A resolver may block far longer than any timeout that can be set for it: wait beside it, not in it.
    asking = threading.Thread(target=ask, daemon=True, name="reachable")
    asking.start()
    asking.join(timeout_s)
    return answered == [True]
