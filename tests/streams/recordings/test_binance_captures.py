"""Real Binance captures: our book is Binance's, and every trade and quote is an event fit for the topic."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from schemas.events import Quote, Trade
from schemas.rows import DeadLetter
from schemas.topics import EVENTS
from streams.recordings.binance import BinanceCapture
from streams.recordings.binance_messages import DEPTH, LINE, TICKER
from streams.recordings.book import Diff, OrderBook, Top
from streams.recordings.lines import LineFile
from tests.streams.recordings.files import SHARED, needs_recordings, only, read

SPOT_BTC = "hftbacktest_binance_spot_btcusdt_20240808.raw.gz"
SPOT_ETH = "hftbacktest_binance_spot_ethusdt_20240808.raw.gz"
COIN_BTC = "hftbacktest_binance_coinm_btcusd_perp_20240808.raw.gz"
MS = 1_000_000
LATENESS_NS = 1_000 * MS


@dataclass
class Wire:
    """A capture taken apart without the reader: every bookTicker by update id, and every diff and snapshot in order."""

    tickers: dict[int, Top] = field(default_factory=dict)
    changes: list[Diff | tuple[int, tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]] = field(
        default_factory=list
    )


def wire(name: str) -> Wire:
    found = Wire()
    for line in LineFile(SHARED / "ticks" / name).lines():
        message = LINE.decode(line.partition(b" ")[2])
        if "@bookTicker" in message.stream:
            it = TICKER.decode(message.data)
            found.tickers[it.update] = Top(it.bid, it.bid_size, it.ask, it.ask_size)
        elif "@depth" in message.stream:
            diff = DEPTH.decode(message.data)
            found.changes.append(Diff(diff.first, diff.last, diff.before, diff.bids, diff.asks))
        elif message.last_update_id is not None:
            found.changes.append((message.last_update_id, message.bids, message.asks))
    return found


def tops(found: Wire) -> Iterator[tuple[int, Top]]:
    """Every state the book reached: last update id it holds, and its top. Fails at a gap."""
    book = OrderBook()
    for change in found.changes:
        if not isinstance(change, Diff):
            assert book.load(*change)
        else:
            outcome = book.apply(change)
            assert outcome != "gap"
            if outcome != "applied":
                continue
        if book.top is not None:
            yield book.last, book.top


@pytest.mark.parametrize("name", [SPOT_BTC, SPOT_ETH, COIN_BTC])
class TestOurBookIsBinances:
    """A diff brings the book to update id `u`; bookTicker says the best at every id at which it changed.

    So the truth at `u` is the bookTicker with the highest id up to `u`, however late it was received: price and size of
    both sides must be equal, bit for bit, after every single diff.
    """

    pytestmark = needs_recordings

    def test_after_every_diff_the_top_is_the_newest_book_ticker_up_to_its_update_id(self, name: str) -> None:
        found = wire(name)
        ids = sorted(found.tickers)
        compared = same = at_the_id = 0
        for last, top in tops(found):
            newest = bisect_right(ids, last) - 1
            assert newest >= 0
            compared += 1
            same += found.tickers[ids[newest]] == top
            at_the_id += ids[newest] == last
        assert same == compared
        assert compared > len(found.changes) - 30  # all but those that came before the snapshot
        assert at_the_id > 500  # states reached by the very update that moved the best

    def test_without_a_level_the_book_would_not_be_equal(self, name: str) -> None:
        """The comparison can fail: one lost diff in a hundred is enough."""
        found = wire(name)
        ids = sorted(found.tickers)
        book, wrong = OrderBook(), 0
        for number, change in enumerate(found.changes):
            if not isinstance(change, Diff):
                book.load(*change)
            elif number % 100:
                book.apply(change)
            else:
                book.apply(change._replace(bids=(), asks=()))
            if book.top is not None:
                wrong += found.tickers[ids[bisect_right(ids, book.last) - 1]] != book.top
        assert wrong > 0


@pytest.mark.parametrize(
    ("name", "venue", "symbol", "n_trades", "n_quotes"),
    [
        (SPOT_BTC, "BINANCE", "BTCUSDT", 9_757, 28_040),
        (SPOT_ETH, "BINANCE", "ETHUSDT", 6_106, 24_077),
        (COIN_BTC, "BINANCE_COINM", "BTCUSD_PERP", 2_286, 19_136),
    ],
)
class TestRealCaptures:
    pytestmark = needs_recordings

    def test_every_trade_and_book_ticker_is_an_event_fit_for_the_topic(
        self, name: str, venue: str, symbol: str, n_trades: int, n_quotes: int
    ) -> None:
        items = read(BinanceCapture(LineFile(SHARED / "ticks" / name)))
        events: list[Trade | Quote] = [*only(Trade, items), *only(Quote, items)]
        assert (len(only(Trade, items)), len(only(Quote, items)), len(items)) == (
            n_trades,
            n_quotes,
            n_trades + n_quotes,
        )
        assert {(event.venue, event.symbol) for event in events} == {(venue, symbol)}
        assert all(EVENTS.decode(EVENTS.encode(event)) == event for event in events[::17])
        for kind in (Trade, Quote):
            assert all(a.seq < b.seq for a, b in pairwise(event for event in events if isinstance(event, kind)))

    def test_event_times_step_back_by_less_than_the_fold_forgives(
        self, name: str, venue: str, symbol: str, n_trades: int, n_quotes: int
    ) -> None:
        for use_tickers in (True, False):
            newest: dict[str, int] = defaultdict(int)
            for item in BinanceCapture(LineFile(SHARED / "ticks" / name), use_tickers=use_tickers).items():
                assert not isinstance(item, DeadLetter)
                assert item.ts_event > newest[item.symbol] - LATENESS_NS // 4
                newest[item.symbol] = max(newest[item.symbol], item.ts_event)

    def test_quotes_from_the_book_are_those_of_the_tickers(
        self, name: str, venue: str, symbol: str, n_trades: int, n_quotes: int
    ) -> None:
        file = SHARED / "ticks" / name
        ours = only(Quote, read(BinanceCapture(LineFile(file), use_tickers=False)))
        theirs = wire(name).tickers
        ids = sorted(theirs)
        assert len(ours) > 2_000
        for quote in ours:
            top = Top(quote.bid, quote.bid_size, quote.ask, quote.ask_size)
            assert theirs[ids[bisect_right(ids, quote.seq) - 1]] == top

    def test_trades_happen_at_prices_that_the_quotes_around_them_allow(
        self, name: str, venue: str, symbol: str, n_trades: int, n_quotes: int
    ) -> None:
        """Quotes are dated well: nearly every trade lies within the best prices of the 250 ms around it."""
        items = read(BinanceCapture(LineFile(SHARED / "ticks" / name)))
        quotes = sorted(only(Quote, items), key=lambda quote: quote.ts_event)
        times = [quote.ts_event for quote in quotes]
        inside = 0
        trades = only(Trade, items)
        for it in trades:
            near = quotes[
                max(bisect_right(times, it.ts_event - 250 * MS) - 1, 0) : bisect_right(times, it.ts_event + 250 * MS)
            ]
            inside += min((q.bid for q in near), default=0.0) <= it.price <= max((q.ask for q in near), default=0.0)
        assert inside / len(trades) > 0.99
