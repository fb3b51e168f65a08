"""The state of one Coinbase subscription: which trades have been said, which are missing, who has gone silent."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from schemas.events import Event, Trade
from streams.collectors import coinbase
from streams.collectors.coinbase import Beat, Match, Other
from streams.ports import Meter

LOG: Final = logging.getLogger(__name__)
NS: Final = 1_000_000_000
SOURCE: Final = "coinbase"
FETCH_S: Final = 4.0
"""For trades that are missing, while messages wait: far below the silence after which a connection is taken for dead."""
ANEW: Final = 1_000_000
"""A trade numbered this far below the newest is no repetition: the exchange counts anew."""


class History(Protocol):
    """Where missed trades come from."""

    def between(self, product: str, after_id: int, before_id: int | None = None, *, within_s: float) -> list[Match]:
        """Trades with `after_id < trade_id < before_id`, ascending; fewer where they are not to be had within that time.

        Up to the newest where `before_id` is None, and none at all then where some could not be asked for.
        """


class CoinbaseFeed:
    """Messages in, events out: every trade once, in the order of its number, missing ones fetched first.

    Where nobody has them any more, heartbeats say that the feed was down from the trade before them to the next one.

    products  as the exchange spells them, `BTC-USD`
    newest    number of the last trade of each product that was written before, by a backfill or by another process
    traded    when those happened, ns
    """

    source: Final = SOURCE

    def __init__(
        self, products: Sequence[str], history: History, meter: Meter, newest: Mapping[str, int] | None = None,
        traded: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.hello: Final = coinbase.subscribe(products)
        self._products = tuple(products)
        self._history = history
        self._meter = meter
        self._newest = dict(newest or {})
        self._promised: dict[str, int] = {}
        self._heard: dict[str, int] = {}
        self._traded = dict(traded or {})
        """Event time of the last trade of each product."""
        self._said_until = 0
        """Newest event time said."""
        self._beaten = 0
        """Time of the newest heartbeat said."""

    def connected(self, now_ns: Callable[[], int]) -> list[Event]:
        """A subscription has been answered: what was traded since the last one, by time.

        `now_ns`: the clock; pages of history take their time, and their newest trades are younger than the question. What is
        not to be had within `FETCH_S` for all products together, their next trades show to be missing.
        """
        self._promised.clear()
        missed, give_up_ns = list[Event](), now_ns() + round(FETCH_S * NS)
        for product in self._products:
            left_s = (give_up_ns - now_ns()) / NS
            if product in self._newest and left_s > 0:
                missed += self._fetch(product, None, now_ns, within_s=left_s)
        self._heard = dict.fromkeys(self._products, now_ns())
        return self._say(sorted(missed, key=lambda event: event.ts_event))

    def read(self, payload: bytes, ts_ingest: int) -> list[Event]:
        """The events of one message, with those that should have come before it.

        Raises: `SchemaError` for bytes that are no message; `InputError` where the exchange refuses us.
        """
        message = coinbase.decode(payload)
        if isinstance(message, Other):
            return []
        self._heard[message.product_id] = ts_ingest
        if isinstance(message, Match):
            return self._say(self._match(message, ts_ingest))
        if isinstance(message, Beat):
            return self._say(self._beat(message, ts_ingest))
        return self._say([coinbase.quote(message, ts_ingest)])

    def lost(self, ts_ingest: int) -> list[Event]:
        """The connection is gone: nothing is known after the newest event time said."""
        return [coinbase.beat(self._said_until, ts_ingest, "down")] if self._said_until else []

    def silent(self, now_ns: int, after_ns: int) -> list[str]:
        """Products that nothing was heard of for `after_ns`; a living one has a heartbeat a second."""
        return [product for product, heard in self._heard.items() if now_ns - heard > after_ns]

    def _match(self, match: Match, ts_ingest: int) -> list[Event]:
        product, newest = match.product_id, self._newest.get(match.product_id)
        if newest is not None and newest - ANEW < match.trade_id <= newest:
            return []
        events: list[Event] = []
        if newest is not None and match.trade_id > newest + 1:
            events.extend(self._fetch(product, match.trade_id, lambda: ts_ingest, coinbase.ns(match.time)))
        self._newest[product] = match.trade_id
        events.append(coinbase.trade(match, product, ts_ingest))
        return events

    def _beat(self, beat: Beat, ts_ingest: int) -> list[Event]:
        """One heartbeat a second for the venue; trades that the last one promised and that did not come are fetched."""
        product, newest = beat.product_id, self._newest.get(beat.product_id)
        promised = self._promised.get(product, 0)
        self._promised[product] = beat.last_trade_id
        events: list[Event] = []
        if newest is not None and newest < promised:
            events.extend(self._fetch(product, promised + 1, lambda: ts_ingest, coinbase.ns(beat.time)))
        said = coinbase.beat(coinbase.ns(beat.time), ts_ingest)
        if said.ts_event // NS > self._beaten // NS:
            self._beaten = said.ts_event
            events.append(said)
        return events

    def _fetch(
        self, product: str, before_id: int | None, now_ns: Callable[[], int], until: int = 0, within_s: float = FETCH_S
    ) -> list[Event]:
        """Trades after the newest, from history; counts those found and those that nobody has any more.

        `now_ns`: asked once they are there. `until`: when the feed was whole again, ns; else when the newest of those found
        happened.
        """
        newest = self._newest[product]
        found, ts_ingest = self._history.between(product, newest, before_id, within_s=within_s), now_ns()
        end = before_id if before_id is not None else (found[-1].trade_id + 1 if found else newest + 1)
        self._newest[product] = end - 1
        missing = end - 1 - newest - len(found)
        if end - 1 > newest:
            LOG.warning("%s: %d trades missed, %d of them found in history", product, end - 1 - newest, len(found))
            self._meter.count("tickwire_collect_gaps_total", source=SOURCE)
            self._meter.count("tickwire_collect_recovered_total", len(found), source=SOURCE)
            self._meter.count("tickwire_collect_missed_total", missing, source=SOURCE)
        trades = [coinbase.trade(match, product, ts_ingest) for match in found]
        since, until = self._traded.get(product, self._said_until), max([until, *(each.ts_event for each in trades)])
        if not missing or not since:
            return [*trades]
        return [coinbase.beat(since, ts_ingest, "down"), *trades, coinbase.beat(max(since, until), ts_ingest)]

    def _say(self, events: Sequence[Event]) -> list[Event]:
        self._traded |= {event.symbol: event.ts_event for event in events if isinstance(event, Trade)}
        self._said_until = max([self._said_until, *(event.ts_event for event in events)])
        return list(events)
