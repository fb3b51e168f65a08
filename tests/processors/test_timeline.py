import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.batch import NS
from processors.sessions import DAY_NS, Calendar, Sessions
from processors.shard import Shard
from processors.timeline import CONTROL, DUPLICATE, FOLDED, LATE, NEWS_KEPT, WINDOW
from schemas.events import Cancel, Correction, Event, Heartbeat, NewsSignal, Quote, Trade
from tests.fakes import CountingLearner
from tests.logs import START, stretch


def trade(seq: int, at_s: float, symbol: str = "A") -> Trade:
    at = START + round(at_s * NS)
    return Trade(symbol=symbol, venue="X", seq=seq, ts_event=at, ts_ingest=at, price=1.0, size=1.0)


def beat(at_s: float, venue: str = "X") -> Heartbeat:
    at = START + round(at_s * NS)
    return Heartbeat(venue=venue, seq=1, ts_event=at, ts_ingest=at)


def news(seq: int, at_s: float) -> NewsSignal:
    at = START + round(at_s * NS)
    return NewsSignal(symbol="A", venue="WIRE", seq=seq, ts_event=at, ts_ingest=at, sentiment=0.5, item_id=str(seq))


def doors(*events: Event) -> list[int]:
    return Shard(0, CountingLearner(), None).advance(stretch(events)).placed.door.tolist()


def test_an_event_within_the_lateness_is_folded_at_the_clock_and_a_later_one_is_not() -> None:
    out = Shard(0, CountingLearner(), None).advance(stretch([trade(1, 10), trade(2, 9.0), trade(3, 8.999)]))
    assert out.placed.door.tolist() == [FOLDED, FOLDED, LATE]
    assert (out.batch.now == START + 10 * NS).all()


def test_a_heartbeat_moves_idle_symbols_of_its_venue_only() -> None:
    assert doors(trade(1, 10), beat(20), trade(2, 15)) == [FOLDED, CONTROL, LATE]
    assert doors(trade(1, 10), beat(20, "Y"), trade(2, 15)) == [FOLDED, CONTROL, FOLDED]


def test_a_heartbeat_before_the_first_event_of_a_symbol_does_not_make_it_late() -> None:
    assert doors(beat(20), trade(1, 15)) == [CONTROL, FOLDED]


def test_the_same_number_twice_is_a_duplicate_also_out_of_order_and_when_late() -> None:
    assert doors(trade(5, 1), trade(3, 2), trade(5, 3), trade(3, 3), trade(4, 3)) == [
        FOLDED,
        FOLDED,
        DUPLICATE,
        DUPLICATE,
        FOLDED,
    ]
    assert doors(trade(1, 1), trade(2, 100), trade(1, 1)) == [FOLDED, FOLDED, DUPLICATE]


def test_trades_and_quotes_are_numbered_apart() -> None:
    at = START + NS
    quote = Quote(symbol="A", venue="X", seq=1, ts_event=at, ts_ingest=at, bid=1, bid_size=1, ask=2, ask_size=1)
    assert doors(trade(1, 1), quote, quote) == [FOLDED, FOLDED, DUPLICATE]


def test_a_correction_that_comes_again_is_a_duplicate_and_is_numbered_apart_from_cancellations() -> None:
    at = START + NS
    cancel = Cancel(symbol="A", venue="X", seq=1, ts_event=at, ts_ingest=at, refers_seq=1)
    correct = Correction(symbol="A", venue="X", seq=1, ts_event=at, ts_ingest=at, refers_seq=1, price=2.0, size=1.0)
    assert doors(trade(1, 1), cancel, correct, cancel, correct) == [FOLDED, CONTROL, CONTROL, DUPLICATE, DUPLICATE]


def test_older_than_remembered_and_late_is_stored_as_late_never_dropped() -> None:
    assert doors(trade(1, 0), trade(2 + WINDOW, 100), trade(1, 0)) == [FOLDED, FOLDED, LATE]


def test_a_venue_that_counts_anew_is_followed() -> None:
    assert doors(trade(10**6, 0), trade(1, 10), trade(2, 11), trade(2, 11)) == [FOLDED, FOLDED, FOLDED, DUPLICATE]


def test_a_venue_that_counts_anew_every_day_is_followed_however_few_its_trades_and_copies_stay_duplicates() -> None:
    midnight = (START // DAY_NS + 1) * DAY_NS
    before, after = (midnight - START) / NS - 60, (midnight - START) / NS + 60
    first = [trade(seq, before + seq) for seq in range(1, 51)]
    second = [trade(seq, after + seq) for seq in range(1, 51)]
    assert doors(*first, *second) == [FOLDED] * 100
    assert (
        doors(*first, first[-1], *second[:3], *second[:3])
        == [FOLDED] * 50 + [DUPLICATE] + [FOLDED] * 3 + [DUPLICATE] * 3
    )
    assert doors(*first, beat(after), *first[-2:]) == [FOLDED] * 50 + [CONTROL] + [DUPLICATE] * 2, (
        "a copy has its own time"
    )
    assert doors(*first, *second[:1], trade(1, after - 3.0), *second[:1])[50:] == [FOLDED, DUPLICATE, DUPLICATE]


def test_news_is_folded_when_it_comes_and_moves_no_clock() -> None:
    out = Shard(0, CountingLearner(), None).advance(stretch([trade(1, 100), news(7, 1), news(8, 104), trade(2, 100.5)]))
    assert out.placed.door.tolist() == [FOLDED] * 4
    assert ((out.batch.now - START) / NS).tolist() == [100, 100, 100, 100.5]


def test_a_news_item_that_is_delivered_again_is_a_duplicate() -> None:
    many = [news(10**15 + i, 2) for i in range(NEWS_KEPT - 1)]
    assert doors(news(7, 1), *many, news(7, 2))[-1] == DUPLICATE


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)
def test_exactly_the_first_of_equal_numbers_is_folded(numbers: list[int]) -> None:
    seen: set[int] = set()
    expected = [DUPLICATE if number in seen else seen.add(number) or FOLDED for number in numbers]
    assert doors(*(trade(number, 1) for number in numbers)) == expected


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40), st.data())
@settings(max_examples=100, deadline=None)
def test_a_duplicate_is_known_while_fewer_numbers_than_the_window_have_passed(
    steps: list[int], data: st.DataObject
) -> None:
    numbers = np.cumsum(steps).tolist()
    again = data.draw(st.sampled_from(numbers))
    known = numbers[-1] - again < WINDOW and all(step < WINDOW for step in steps)
    door = doors(*(trade(number, 1) for number in numbers), trade(again, 0.5))[-1]
    assert door == (DUPLICATE if known else FOLDED)


def test_a_session_of_an_exchange_reaches_from_midnight_to_the_next_trading_day() -> None:
    hour = 3_600 * NS
    friday = START // (24 * hour) * 24 * hour
    monday = friday + 72 * hour
    calendar = Calendar(
        start=np.array([friday, monday, monday + 24 * hour]),
        open=np.array([friday + 14 * hour, monday + 14 * hour, monday + 38 * hour]),
        close=np.array([friday + 21 * hour, monday + 21 * hour, monday + 45 * hour]),
    )
    sessions = Sessions({"XNYS": calendar}, {"X": "XNYS"})
    shard = Shard(0, CountingLearner(), None, sessions=sessions)
    events = [
        Trade(symbol="A", venue="X", seq=i, ts_event=at, ts_ingest=at, price=1.0, size=1.0)
        for i, at in enumerate([friday + 15 * hour, friday + 40 * hour, monday + 9 * hour, monday + 15 * hour])
    ]
    out = shard.advance(stretch(events))
    assert out.placed.fresh.tolist() == [True, False, True, False]
    assert out.batch.session_open.tolist() == [friday + 14 * hour] * 2 + [monday + 14 * hour] * 2
    assert out.batch.session_close.tolist() == [friday + 21 * hour] * 2 + [monday + 21 * hour] * 2


def test_where_trading_never_stops_a_session_is_a_day_of_utc() -> None:
    day = 86_400
    out = Shard(0, CountingLearner(), None).advance(stretch([trade(1, 0), trade(2, day), trade(3, day + 1)]))
    assert out.placed.fresh.tolist() == [True, True, False]
    assert (out.batch.session_close - out.batch.session_open == day * NS).all()
