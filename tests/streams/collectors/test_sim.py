"""The simulated exchange is deterministic, obviously simulated, imperfect in known ways, and worth learning from."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sentiment import LexiconSentiment
from schemas.events import (
    Cancel,
    Correction,
    Event,
    Heartbeat,
    MarketEvent,
    NewsItem,
    Quote,
    SessionMark,
    Trade,
)
from schemas.topics import EVENTS, NEWS
from streams.collectors.sim import WIRE_NS, SimExchange
from streams.collectors.sim_news import BAD, GOOD, PLAIN

S = 1_000_000_000
START = 1_700_000_000 * S
HOUR = 3600


def exchange(seed: int = 1, *, rate: float = 55.0, symbols: int = 24) -> SimExchange:
    return SimExchange(seed, symbols, START, events_per_second=rate)


@cache
def an_hour() -> tuple[list[Event], list[NewsItem]]:
    sim = exchange()
    return sim.events_until(START + HOUR * S - 1), sim.news_until(START + HOUR * S - 1)


def of_symbols(events: Iterable[Event]) -> list[MarketEvent]:
    return [event for event in events if isinstance(event, Trade | Quote | Correction | Cancel)]


def left_at(event: Event) -> int:
    return event.ts_ingest - WIRE_NS


def as_bytes(events: Iterable[Event], news: Iterable[NewsItem]) -> list[bytes]:
    return [*map(EVENTS.encode, events), *map(NEWS.encode, news)]


@given(st.lists(st.integers(0, 4 * S), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None)
def test_many_small_steps_say_the_same_bytes_as_one_big_step(steps: list[int]) -> None:
    end = START + sum(steps)
    big, small = exchange(7, rate=300), exchange(7, rate=300)
    events: list[Event] = []
    news: list[NewsItem] = []
    now = START
    for step in steps:
        now += step
        events += small.events_until(now)
        news += small.news_until(now)
    assert as_bytes(events, news) == as_bytes(big.events_until(end), big.news_until(end))


def test_news_may_be_asked_for_before_or_after_the_events() -> None:
    first, second = exchange(rate=100), exchange(rate=100)
    events, news = first.events_until(START + 90 * S), first.news_until(START + 90 * S)
    assert second.news_until(START + 90 * S) == news
    assert second.events_until(START + 90 * S) == events


def test_another_seed_is_another_market() -> None:
    assert exchange(1).events_until(START + 5 * S) != exchange(2).events_until(START + 5 * S)


def test_every_event_and_item_is_what_its_topic_declares() -> None:
    events, news = an_hour()
    assert all(EVENTS.decode(EVENTS.encode(event)) == event for event in events)
    assert all(NEWS.decode(NEWS.encode(item)) == item for item in news)


def test_everything_is_marked_as_simulated() -> None:
    events, news = an_hour()
    assert {event.venue for event in events if not isinstance(event, Heartbeat)} == {"SIM"}
    assert {event.venue for event in events if isinstance(event, Heartbeat)} == {"SIM"}
    symbols = {event.symbol for event in of_symbols(events)}
    assert len(symbols) == 24
    assert all(symbol.startswith("SIM") for symbol in symbols)
    assert {item.source for item in news} == {"SIMNEWS"}
    assert all("Simulated" in item.title for item in news)


def test_events_leave_in_order_and_never_before_they_happened() -> None:
    events, news = an_hour()
    left = [left_at(event) for event in events]
    assert left == sorted(left)
    assert all(event.ts_event <= left_at(event) for event in events)
    assert [item.ts_event for item in news] == sorted(item.ts_event for item in news)


def test_nothing_is_said_ahead_of_the_time_asked_for() -> None:
    sim = exchange(rate=500)
    for step in range(1, 400):
        now = START + step * 7_000_000
        assert all(event.ts_event <= now == event.ts_ingest for event in sim.events_until(now, ts_ingest=now))
        assert all(item.ts_event <= now for item in sim.news_until(now))


def test_some_events_come_twice_some_late_and_a_few_very_late() -> None:
    events = of_symbols(an_hour()[0])
    identities = Counter((event.symbol, event.seq) for event in events)
    assert set(identities.values()) == {1, 2}
    assert 0.001 < sum(count == 2 for count in identities.values()) / len(events) < 0.01
    delays = np.array([(left_at(event) - event.ts_event) / S for event in events])
    assert np.mean(delays == 0) > 0.98
    assert 0.001 < np.mean((delays > 0.1) & (delays < 0.6)) < 0.01
    assert 5 <= np.sum(delays > 10) <= 120
    assert not np.any((delays > 0.6) & (delays < 10))


def test_the_pauses_of_the_feed_are_announced_and_lose_events() -> None:
    events, _ = an_hour()
    beats = [event for event in events if isinstance(event, Heartbeat)]
    downs = [beat for beat in beats if beat.state == "down"]
    assert len(downs) == HOUR // 300
    for down in downs:
        back = min(beat.ts_event for beat in beats if beat.ts_event > down.ts_event and beat.state == "up")
        assert 2 * S <= back - down.ts_event <= 5 * S
        assert not [event for event in events if down.ts_event < left_at(event) < back]
        assert any(last.seq + 1 < first.seq for last, first in _around(of_symbols(events), down.ts_event, back)), (
            "no number is missing after the pause"
        )


def _around(events: Sequence[MarketEvent], down: int, back: int) -> list[tuple[MarketEvent, MarketEvent]]:
    """For every symbol its newest event before the pause and its first after it."""
    before: dict[str, MarketEvent] = {}
    after: dict[str, MarketEvent] = {}
    for event in events:
        if left_at(event) <= down:
            before[event.symbol] = max(event, before.get(event.symbol, event), key=lambda each: each.seq)
        elif event.ts_event >= back:
            after.setdefault(event.symbol, event)
    return [(before[symbol], after[symbol]) for symbol in before.keys() & after.keys()]


def test_outside_of_pauses_a_heartbeat_comes_every_second() -> None:
    events, _ = an_hour()
    seconds = {event.ts_event // S for event in events if isinstance(event, Heartbeat) and event.state == "up"}
    assert HOUR - 12 * 6 <= len(seconds & set(range(START // S, START // S + HOUR))) <= HOUR


def test_a_halted_symbol_says_nothing_until_it_resumes() -> None:
    events, _ = an_hour()
    marks = [event for event in events if isinstance(event, SessionMark)]
    halts = [mark for mark in marks if mark.state == "halt"]
    assert len(halts) == HOUR // 300
    for halt in halts:
        resume = min(mark.ts_event for mark in marks if mark.state == "resume" and mark.ts_event > halt.ts_event)
        assert 20 * S <= resume - halt.ts_event <= 45 * S
        traded = [event for event in events if isinstance(event, Trade | Quote) and event.symbol == halt.symbol]
        assert not [event for event in traded if halt.ts_event <= event.ts_event < resume]
        assert any(event.ts_event < halt.ts_event for event in traded)
        assert any(event.ts_event >= resume for event in traded)


def test_corrections_and_cancellations_refer_to_trades_that_were_said_or_lost_in_a_pause() -> None:
    events, _ = an_hour()
    trades = {(event.symbol, event.seq): event for event in events if isinstance(event, Trade)}
    fixes = [event for event in events if isinstance(event, Correction | Cancel)]
    known = [fix for fix in fixes if (fix.symbol, fix.refers_seq) in trades]
    assert {type(fix) for fix in fixes} == {Correction, Cancel}
    assert len(known) > 0.95 * len(fixes) > 20
    assert all(fix.ts_event > trades[fix.symbol, fix.refers_seq].ts_event for fix in known)


def test_numbers_of_a_symbol_follow_its_time_and_miss_none_but_those_of_a_pause() -> None:
    by_symbol: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for event in of_symbols(an_hour()[0]):
        by_symbol[event.symbol][event.seq] = event.ts_event
    for times in by_symbol.values():
        seqs = sorted(times)
        assert [times[seq] for seq in seqs] == sorted(times.values())
        assert len(seqs) > 0.95 * (seqs[-1] - seqs[0])


def test_a_later_run_never_uses_a_number_again() -> None:
    first = of_symbols(exchange(rate=5000, symbols=1).events_until(START + 5 * S))
    later = SimExchange(1, 1, START + 5 * S, events_per_second=5000)
    assert min(event.seq for event in of_symbols(later.events_until(START + 6 * S))) > max(event.seq for event in first)


def test_quotes_are_never_crossed_and_trades_happen_at_the_quote() -> None:
    events = of_symbols(an_hour()[0])
    book: dict[str, Quote] = {}
    checked = 0
    for event in sorted(events, key=lambda each: (each.symbol, each.seq)):
        if isinstance(event, Quote):
            assert 0 < event.bid < event.ask
            assert min(event.bid_size, event.ask_size) >= 100
            assert round(event.bid, 2) == event.bid
            book[event.symbol] = event
        elif isinstance(event, Trade) and event.side != "unknown" and event.symbol in book:
            quote = book[event.symbol]
            checked += (event.price == quote.ask) if event.side == "buy" else (event.price == quote.bid)
    sided = sum(isinstance(event, Trade) and event.side != "unknown" for event in events)
    assert checked > 0.98 * sided  # the rest saw a quote that a pause has swallowed


def test_trading_comes_in_bursts() -> None:
    events, _ = an_hour()
    busiest = Counter(event.ts_event // S for event in of_symbols(events) if event.symbol == "SIMA")
    counts = np.array([busiest[START // S + second] for second in range(HOUR)], float)
    assert counts.var() > 3 * counts.mean(), "no more clustered than a Poisson process"


@pytest.mark.parametrize("rate", [50.0, 200.0, 2_000.0, 20_000.0])
def test_the_rate_is_about_what_was_asked_for(rate: float) -> None:
    seconds = 120 if rate < 2_000 else 10
    count = len(of_symbols(exchange(rate=rate).events_until(START + seconds * S)))
    assert 0.8 * rate < count / seconds < 1.25 * rate


def test_the_rate_can_be_changed_from_the_next_second_on() -> None:
    sim = exchange(rate=50)
    before = len(sim.events_until(START + 30 * S - 1))
    sim.events_per_second = 1_000
    after = len(sim.events_until(START + 60 * S - 1))
    assert after > 10 * before


@pytest.mark.parametrize("wrong", [{"symbols": 0}, {"seed": -1}, {"start_ns": -1}, {"events_per_second": 0.0}])
def test_numbers_that_make_no_exchange_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected seed >= 0"):
        SimExchange(**{"seed": 1, **wrong})


def test_the_lexicon_reads_every_headline_as_it_was_meant() -> None:
    lexicon = LexiconSentiment()

    def scores(texts: Sequence[str]) -> list[float]:
        return [lexicon.score(text.format(name="Simulated Alder Works", percent=12)) for text in texts]

    assert min(scores(GOOD)) > 0.2
    assert max(scores(BAD)) < -0.2
    assert all(abs(score) < 0.2 for score in scores(PLAIN))


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Chance that a score of a 1 is above a score of a 0 (Mann-Whitney)."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    ups = labels.sum()
    return float((ranks[labels].sum() - ups * (ups + 1) / 2) / (ups * (len(labels) - ups)))


def test_book_and_order_flow_say_a_little_about_the_next_ten_seconds() -> None:
    imbalance: list[float] = []
    flow: list[float] = []
    up: list[bool] = []
    by_symbol: defaultdict[str, list[MarketEvent]] = defaultdict(list)
    for event in of_symbols(an_hour()[0]):
        by_symbol[event.symbol].append(event)
    for events in by_symbol.values():
        quotes = sorted((event for event in events if isinstance(event, Quote)), key=lambda each: each.ts_event)
        trades = [event for event in events if isinstance(event, Trade) and event.side != "unknown"]
        times = np.array([quote.ts_event for quote in quotes])
        mid = np.array([(quote.bid + quote.ask) / 2 for quote in quotes])
        lean = np.array([(q.bid_size - q.ask_size) / (q.bid_size + q.ask_size) for q in quotes])
        trade_times = np.array([trade.ts_event for trade in trades])
        signs = np.array([1 if trade.side == "buy" else -1 for trade in trades])
        for now in range(START + 60 * S, START + (HOUR - 60) * S, 5 * S):
            here, then = np.searchsorted(times, [now, now + 10 * S], side="right") - 1
            if mid[here] != mid[then]:
                recent = (trade_times > now - 10 * S) & (trade_times <= now)
                imbalance.append(lean[max(here - 4, 0) : here + 1].mean())
                flow.append(signs[recent].sum() + 1e-9 * len(flow))
                up.append(mid[then] > mid[here])
    labels = np.array(up)
    assert 0.55 < area_under_curve(np.array(imbalance), labels) < 0.66
    assert 0.53 < area_under_curve(np.array(flow), labels) < 0.66


def test_prices_rise_after_good_news_and_fall_after_bad() -> None:
    events, news = an_hour()
    lexicon = LexiconSentiment()
    moves: dict[bool, list[float]] = {True: [], False: []}
    for item in news:
        score = lexicon.score(item.title)
        for symbol in item.symbols:
            mids = [
                (event.ts_event, (event.bid + event.ask) / 2)
                for event in events
                if isinstance(event, Quote) and event.symbol == symbol and 0 <= event.ts_event - item.ts_event < 30 * S
            ]
            if len(mids) > 2 and abs(score) > 0.2:
                moves[score > 0].append(mids[-1][1] / mids[0][1] - 1)
    assert np.mean(moves[True]) > 3e-4
    assert np.mean(moves[False]) < -3e-4
