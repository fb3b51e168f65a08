"""A feed says every trade once and in order, whatever the connection does; and counts what it could not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event, Heartbeat, Trade
from streams.collectors.coinbase import Match
from streams.collectors.coinbase_feed import FETCH_S, CoinbaseFeed
from tests.streams.collectors.exchange import heartbeat, match, subscriptions, ticker
from tests.streams.writers import CountingMeter

S = 1_000_000_000
NOW = 1_714_564_860 * S


@dataclass
class ListHistory:
    """A list of numbers where REST would be."""

    known: Sequence[int]
    asked: list[tuple[int, int | None]] = field(default_factory=list)

    def between(self, product: str, after_id: int, before_id: int | None = None, *, within_s: float) -> list[Match]:
        self.asked.append((after_id, before_id))
        end = before_id if before_id is not None else 10**18
        return [
            msgspec.json.decode(match(each, product=product), type=Match, strict=False)
            for each in sorted(self.known)
            if after_id < each < end
        ]


def feed(known: Sequence[int] = (), newest: int | None = None) -> tuple[CoinbaseFeed, CountingMeter, ListHistory]:
    history, meter = ListHistory(known), CountingMeter()
    return CoinbaseFeed(["BTC-USD"], history, meter, {} if newest is None else {"BTC-USD": newest}), meter, history


@dataclass
class SlowHistory:
    """Every answer takes its time, and has a trade of its last moment."""

    takes_s: int = 1
    ns: int = NOW
    within: list[float] = field(default_factory=list)

    def between(self, product: str, after_id: int, before_id: int | None = None, *, within_s: float) -> list[Match]:
        self.within.append(within_s)
        self.ns += self.takes_s * S
        at = datetime.fromtimestamp(self.ns // S, UTC)
        return [Match(trade_id=after_id + 1, time=at, price=1.0, size=1.0, side="buy")]


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Trade)]


def said(subject: CoinbaseFeed, *payloads: bytes) -> list[Event]:
    return [event for payload in payloads for event in subject.read(payload, NOW)]


def test_trades_without_a_gap_ask_nobody() -> None:
    subject, meter, history = feed()
    assert numbers(said(subject, subscriptions(), match(4, last=True), match(5), match(6))) == [4, 5, 6]
    assert history.asked == []
    assert meter.counts["tickwire_collect_gaps_total"] == 0


def test_a_jump_of_the_number_is_filled_before_the_trade_that_jumped() -> None:
    subject, meter, _ = feed(known=range(1, 20))
    assert numbers(said(subject, match(4), match(9), match(10))) == [4, 5, 6, 7, 8, 9, 10]
    assert meter.counts["tickwire_collect_gaps_total"] == 1
    assert meter.counts["tickwire_collect_recovered_total"] == 4
    assert meter.counts["tickwire_collect_missed_total"] == 0


def test_what_history_has_not_either_is_counted_and_the_feed_goes_on() -> None:
    subject, meter, _ = feed(known=[5, 8])
    assert numbers(said(subject, match(4), match(9), match(10))) == [4, 5, 8, 9, 10]
    assert meter.counts["tickwire_collect_recovered_total"] == 2
    assert meter.counts["tickwire_collect_missed_total"] == 2


def test_what_nobody_has_any_more_is_an_outage_of_the_feed_on_the_log() -> None:
    subject, _, _ = feed(known=[5, 8])
    events = said(subject, match(4), match(9), match(10))
    before, jumped = (each.ts_event for each in events if isinstance(each, Trade) and each.seq in {4, 9})
    beats = [(each.state, each.ts_event) for each in events if isinstance(each, Heartbeat)]
    assert beats == [("down", before), ("up", jumped)]
    whole, _, _ = feed(known=range(1, 20))
    assert not [each for each in said(whole, match(4), match(9)) if isinstance(each, Heartbeat)]


def test_a_connection_made_anew_begins_with_what_was_missed() -> None:
    subject, meter, _ = feed(known=range(1, 31))
    assert numbers(said(subject, match(10))) == [10]
    assert subject.lost(NOW) == [
        Heartbeat(venue="COINBASE", seq=1_714_564_801_000_000, ts_event=1_714_564_801 * S, ts_ingest=NOW, state="down")
    ]
    assert numbers(subject.connected(lambda: NOW)) == list(range(11, 31))
    assert numbers(said(subject, match(29), match(30, last=True), match(31))) == [31]
    assert meter.counts["tickwire_collect_recovered_total"] == 20


def test_the_live_feed_goes_on_where_a_backfill_ended() -> None:
    subject, _, _ = feed(known=range(1, 8), newest=5)
    assert numbers(subject.connected(lambda: NOW)) == [6, 7]
    assert numbers(said(subject, match(7, last=True), match(8))) == [8]


def test_what_was_missed_is_stamped_when_it_is_there_and_not_when_it_was_asked_for() -> None:
    history = SlowHistory()
    subject = CoinbaseFeed(["A-USD", "B-USD", "C-USD"], history, CountingMeter(), {"A-USD": 1, "B-USD": 1, "C-USD": 1})
    found = subject.connected(lambda: history.ns)
    assert len(found) == 3
    assert all(event.ts_event <= event.ts_ingest for event in found)
    assert subject.silent(history.ns, 10 * S) == [], "nobody could be heard meanwhile"


def test_products_share_the_time_for_what_was_missed_and_the_next_trade_asks_for_the_rest() -> None:
    history, products = SlowHistory(takes_s=3), ["A-USD", "B-USD", "C-USD"]
    subject = CoinbaseFeed(products, history, CountingMeter(), dict.fromkeys(products, 1))
    assert {event.symbol for event in subject.connected(lambda: history.ns) if isinstance(event, Trade)} == {
        "A-USD", "B-USD",
    }  # fmt: skip
    assert history.within == [FETCH_S, FETCH_S - 3]
    assert numbers(subject.read(match(3, product="C-USD"), history.ns)) == [2, 3]
    assert history.within[2:] == [FETCH_S]


def test_what_was_missed_since_another_process_wrote_is_an_outage_from_its_last_trade_on() -> None:
    meter = CountingMeter()
    subject = CoinbaseFeed(["BTC-USD"], ListHistory(range(8, 11)), meter, {"BTC-USD": 5}, {"BTC-USD": NOW - 300 * S})
    events = subject.connected(lambda: NOW)
    assert numbers(events) == [8, 9, 10]
    assert meter.counts["tickwire_collect_missed_total"] == 2
    beats = [(each.state, each.ts_event) for each in events if isinstance(each, Heartbeat)]
    assert beats == [("down", NOW - 300 * S), ("up", max(each.ts_event for each in events if isinstance(each, Trade)))]


def test_a_trade_that_a_heartbeat_promised_and_that_never_came_is_fetched_at_the_next() -> None:
    subject, meter, history = feed(known=range(1, 20))
    assert numbers(said(subject, match(4), heartbeat(6, 1.0))) == [4]
    assert history.asked == [], "it may still be on its way"
    assert numbers(said(subject, heartbeat(7, 2.0))) == [5, 6]
    assert numbers(said(subject, match(7), heartbeat(7, 3.0))) == [7]
    assert meter.counts["tickwire_collect_gaps_total"] == 1


def test_the_heartbeats_of_many_products_are_one_a_second_of_the_venue() -> None:
    subject, _, _ = feed()
    beats = said(
        subject,
        *(heartbeat(1, second, product=product) for second in (1.1, 2.1, 3.1) for product in ("A-B", "C-D", "E-F")),
    )
    assert [beat.ts_event for beat in beats] == [1_714_564_801_100_000_000 + k * S for k in range(3)]


def test_a_feed_that_has_said_nothing_has_nothing_to_take_back() -> None:
    assert feed()[0].lost(NOW) == []


def test_silence_is_noticed_per_product() -> None:
    subject = CoinbaseFeed(["BTC-USD", "ETH-USD"], ListHistory([]), CountingMeter())
    subject.connected(lambda: NOW)
    subject.read(ticker(5, product="ETH-USD"), NOW + 8 * S)
    assert subject.silent(NOW + 10 * S, 10 * S) == []
    assert subject.silent(NOW + 11 * S, 10 * S) == ["BTC-USD"]
    assert subject.silent(NOW + 19 * S, 10 * S) == ["BTC-USD", "ETH-USD"]


def test_an_exchange_that_counts_anew_is_believed() -> None:
    subject, _, _ = feed(newest=900_000_000)
    assert numbers(said(subject, match(1), match(2))) == [1, 2]


@given(
    st.lists(st.sampled_from(["deliver", "swallow", "repeat", "reconnect", "beat"]), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_connection_does_every_trade_is_said_once_and_in_order(steps: list[str], luck: object) -> None:
    """The exchange makes trade after trade; the connection swallows and repeats some; history knows all."""
    made: list[int] = [1]
    history = ListHistory(made)
    subject = CoinbaseFeed(["BTC-USD"], history, CountingMeter())
    out = said(subject, match(1))
    for at, step in enumerate(steps):
        if step in ("deliver", "swallow"):
            made.append(made[-1] + 1)
        if step in ("deliver", "repeat"):
            out += said(subject, match(made[-1]))
        if step == "reconnect":
            out += subject.connected(lambda: NOW)
        if step == "beat":
            out += said(subject, heartbeat(made[-1], at / 2))
    out += subject.connected(lambda: NOW)
    assert numbers(out) == made
