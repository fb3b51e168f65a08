"""The subscriber against a local exchange: everything arrives once, through drops, silence, garbage and refusals."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from schemas.errors import InputError
from schemas.events import Event, Heartbeat, Quote, Trade
from streams.collectors.backfill import CoinbaseRest
from streams.collectors.coinbase import Match, parse
from streams.collectors.coinbase_feed import CoinbaseFeed
from streams.collectors.subscriber import Patience, Subscriber
from tests.services.processes import free_ports
from tests.streams.collectors.exchange import (
    CAPTURE,
    LocalExchange,
    Session,
    captured,
    heartbeat,
    match,
    running,
    subscriptions,
    ticker,
)
from tests.streams.writers import CountingMeter, ListWriter, WallClock

QUICK = Patience(first_s=0.02, most_s=0.1, silent_s=30.0)
SHORT = Patience(first_s=0.02, most_s=0.1, silent_s=0.4)


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Trade)]


def collect(
    exchange: LocalExchange, enough: Callable[[ListWriter, CountingMeter], bool], *,
    products: Sequence[str] = ("BTC-USD",), patience: Patience = QUICK, within_s: float = 20.0,
) -> tuple[ListWriter, CountingMeter]:  # fmt: skip
    """Run a subscriber until `enough`."""
    writer, meter, clock = ListWriter(), CountingMeter(), WallClock()
    rest = CoinbaseRest(exchange.rest_url, clock)
    deadline = time.monotonic() + within_s

    def stop() -> bool:
        assert time.monotonic() < deadline, f"not enough within {within_s} s: {len(writer.events)} events"
        return enough(writer, meter)

    try:
        feed = CoinbaseFeed(products, rest, meter)
        Subscriber(exchange.ws_url, feed, writer, clock, meter, patience=patience, seed=1).run(stop)
    finally:
        rest.close()
    return writer, meter


def test_it_subscribes_once_and_every_message_arrives_in_order() -> None:
    frames = [subscriptions(), match(1, last=True), ticker(11), match(2), match(3), ticker(14), heartbeat(3, 2.0)]
    with running(LocalExchange([Session(frames)])) as exchange:
        writer, meter = collect(exchange, lambda writer, _: len(writer.events) >= 6)
    assert [type(event) for event in writer.events] == [
        Trade, Quote, Trade, Trade, Quote, Heartbeat, Heartbeat,
    ]  # fmt: skip
    assert exchange.hellos == [
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches", "ticker", "heartbeat"]}
    ]
    assert meter.counts["tickwire_collect_events_total"] == 7
    last = writer.events[-1]
    assert isinstance(last, Heartbeat)
    assert last.state == "down", "after we stop listening, the feed is down for us"
    assert writer.flushes == 1


@pytest.mark.shared_data
@pytest.mark.skipif(not CAPTURE.exists(), reason="the recorded Coinbase session is not beside this checkout")
def test_the_recorded_session_arrives_as_its_matches_and_tickers_exactly() -> None:
    frames = captured()
    expected = [event for payload in frames for event in parse(payload, 0)]
    products = sorted({event.symbol for event in expected if isinstance(event, Trade)})
    with running(LocalExchange([Session(frames)], history={product: [] for product in products})) as exchange:
        writer, meter = collect(exchange, lambda writer, _: len(writer.events) >= len(expected), products=products)
    arrived = [event for event in writer.events if isinstance(event, Trade | Quote)]
    assert [(type(event), event.symbol, event.seq, event.ts_event) for event in arrived] == [
        (type(event), event.symbol, event.seq, event.ts_event) for event in expected if isinstance(event, Trade | Quote)
    ]
    assert all(event.ts_ingest > event.ts_event for event in arrived)
    assert writer.letters == []
    assert meter.counts["tickwire_collect_missed_total"] == 0


def test_a_connection_that_drops_midway_loses_no_trade() -> None:
    first = Session([subscriptions(), *(match(number) for number in range(1, 51))], then="drop")
    second = Session([subscriptions(), match(120, last=True), *(match(number) for number in range(121, 151))])
    with running(LocalExchange([first, second], history={"BTC-USD": list(range(1, 121))})) as exchange:
        writer, meter = collect(exchange, lambda writer, _: 150 in numbers(writer.events))
    assert numbers(writer.events) == list(range(1, 151))
    assert meter.counts["tickwire_collect_gaps_total"] == 1
    assert meter.counts["tickwire_collect_recovered_total"] == 70
    assert meter.counts["tickwire_collect_missed_total"] == 0
    assert meter.counts["tickwire_collect_reconnects_total"] == 1
    beats = [event for event in writer.events if isinstance(event, Heartbeat)]
    assert [beat.state for beat in beats] == ["down", "down"]
    trades = [event for event in writer.events if isinstance(event, Trade)]
    assert beats[0].ts_event == trades[49].ts_event, "nothing is known after the last event said"


def test_missed_trades_are_fetched_over_many_pages_and_through_failing_requests() -> None:
    first = Session([subscriptions(), match(1)], then="drop")
    second = Session([subscriptions(), match(101)])
    script = LocalExchange([first, second], history={"BTC-USD": list(range(1, 101))}, failures=2, page=30)
    with running(script) as exchange:
        writer, meter = collect(exchange, lambda writer, _: 101 in numbers(writer.events))
    assert numbers(writer.events) == list(range(1, 102))
    assert exchange.requests["/products/BTC-USD/trades"] == 2 + 4
    assert meter.counts["tickwire_collect_missed_total"] == 0


def test_a_history_that_never_answers_costs_the_missed_trades_only_and_counts_them() -> None:
    frames = [subscriptions(), match(1), match(5), match(6)]
    with running(LocalExchange([Session(frames)], history={"BTC-USD": [1]}, failures=99)) as exchange:
        writer, meter = collect(exchange, lambda writer, _: 6 in numbers(writer.events))
    assert numbers(writer.events) == [1, 5, 6]
    assert meter.counts["tickwire_collect_missed_total"] == 3


def test_a_feed_that_goes_mute_while_its_socket_lives_is_connected_anew() -> None:
    mute = Session([subscriptions(), match(1)])
    lively = Session([subscriptions(), match(2)])
    with running(LocalExchange([mute, lively], history={"BTC-USD": [1]})) as exchange:
        writer, meter = collect(
            exchange,
            lambda writer, _: 2 in numbers(writer.events),
            patience=SHORT,
        )
    assert numbers(writer.events) == [1, 2]
    assert meter.counts["tickwire_collect_reconnects_total"] == 1


@dataclass
class StuckHistory:
    """Answers late and with nothing; more messages come in the meantime."""

    asked: threading.Event = field(default_factory=threading.Event)

    def between(self, product: str, after_id: int, before_id: int | None = None, *, within_s: float) -> list[Match]:
        self.asked.set()
        threading.Event().wait(2 * SHORT.silent_s)
        return []


def test_a_feed_that_goes_on_while_history_is_slow_is_not_taken_for_silent() -> None:
    history, writer, meter, clock = StuckHistory(), ListWriter(), CountingMeter(), WallClock()

    def frames() -> Iterator[bytes]:
        yield from (subscriptions(), match(1), match(5))
        assert history.asked.wait(10)
        yield match(6)

    with running(LocalExchange([Session(cast(Sequence[bytes], frames()))])) as exchange:
        feed = CoinbaseFeed(["BTC-USD"], history, meter)
        Subscriber(exchange.ws_url, feed, writer, clock, meter, patience=SHORT).run(
            lambda: 6 in numbers(writer.events) or meter.counts["tickwire_collect_reconnects_total"] > 0
        )
    assert numbers(writer.events) == [1, 5, 6]
    assert meter.counts["tickwire_collect_reconnects_total"] == 0
    assert meter.counts["tickwire_collect_missed_total"] == 3


def test_a_product_that_goes_mute_is_noticed_while_the_others_never_pause() -> None:
    def frames() -> Iterator[bytes]:
        yield from (subscriptions(), match(1), match(1, product="ETH-USD"))
        for number in range(2, 100_000):
            threading.Event().wait(0.01)
            yield match(number, product="ETH-USD")

    with running(LocalExchange([Session(cast(Sequence[bytes], frames()))])) as exchange:
        collect(
            exchange,
            lambda _, meter: meter.counts["tickwire_collect_reconnects_total"] > 0,
            products=("BTC-USD", "ETH-USD"),
            patience=SHORT,
        )


def test_an_exchange_that_never_answers_the_subscription_is_connected_anew() -> None:
    with running(LocalExchange([Session([]), Session([subscriptions(), match(1)])])) as exchange:
        writer, _ = collect(
            exchange,
            lambda writer, _: bool(writer.events),
            patience=SHORT,
        )
    assert numbers(writer.events) == [1]
    assert len(exchange.hellos) == 2


def test_a_refused_subscription_stops_with_the_exchanges_reason() -> None:
    refusal = b'{"type":"error","message":"Failed to subscribe","reason":"NO-SUCH is not a valid product"}'
    with running(LocalExchange([Session([refusal])])) as exchange, pytest.raises(InputError, match="NO-SUCH is not a"):
        collect(exchange, lambda *_: False, products=["NO-SUCH"])
    assert len(exchange.hellos) == 1


def test_events_that_came_before_a_refusal_are_kept() -> None:
    refusal = b'{"type":"error","message":"ErrSlowConsume","reason":"too slow"}'
    writer, meter, clock = ListWriter(), CountingMeter(), WallClock()
    with running(LocalExchange([Session([subscriptions(), match(1), match(2), refusal])])) as exchange:
        rest = CoinbaseRest(exchange.rest_url, clock)
        subscriber = Subscriber(exchange.ws_url, CoinbaseFeed(["BTC-USD"], rest, meter), writer, clock, meter)
        with pytest.raises(InputError, match="too slow"):
            subscriber.run(lambda: False)
        rest.close()
    assert numbers(writer.events) == [1, 2]


def test_garbage_becomes_dead_letters_and_the_feed_goes_on() -> None:
    frames = [
        subscriptions(), match(1), b"\x00\xff no json", b'{"type":"match"', b'{"type":"match","trade_id":"x"}', match(2),
    ]  # fmt: skip
    with running(LocalExchange([Session(frames)])) as exchange:
        writer, meter = collect(exchange, lambda writer, _: 2 in numbers(writer.events))
    assert numbers(writer.events) == [1, 2]
    assert [(letter.source, letter.reason, letter.offset, letter.raw) for letter in writer.letters] == [
        ("coinbase", "undecodable", 3, frames[2]),
        ("coinbase", "undecodable", 4, frames[3]),
        ("coinbase", "invalid_value", 5, frames[4]),
    ]
    assert meter.counts["tickwire_collect_rejected_total"] == 3


def test_an_exchange_that_is_not_there_is_tried_again_until_stopped() -> None:
    (port,) = free_ports(1)
    writer, meter, clock = ListWriter(), CountingMeter(), WallClock()
    feed = CoinbaseFeed(["BTC-USD"], CoinbaseRest("http://127.0.0.1:1", clock), meter)
    Subscriber(f"ws://127.0.0.1:{port}", feed, writer, clock, meter, patience=QUICK).run(
        lambda: meter.counts["tickwire_collect_reconnects_total"] >= 4
    )
    assert writer.events == []


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers every handshake with this status."""

    def refuse(socket: ServerConnection, request: object) -> object:
        return socket.respond(status, "no\n")

    server: Server
    with serve(lambda _: None, "127.0.0.1", 0, process_request=refuse) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def subscriber(url: str, meter: CountingMeter) -> Subscriber:
    clock = WallClock()
    feed = CoinbaseFeed(["BTC-USD"], CoinbaseRest("http://127.0.0.1:1", clock), meter)
    return Subscriber(url, feed, ListWriter(), clock, meter, patience=QUICK)


def test_a_handshake_that_will_always_be_refused_stops_with_the_reason() -> None:
    with answering(403) as url, pytest.raises(InputError, match="HTTP 403"):
        subscriber(url, CountingMeter()).run(lambda: False)


@pytest.mark.parametrize("status", [429, 503])
def test_a_handshake_that_is_refused_for_now_is_tried_again(status: int) -> None:
    meter = CountingMeter()
    with answering(status) as url:
        subscriber(url, meter).run(lambda: meter.counts["tickwire_collect_reconnects_total"] >= 3)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="is no WebSocket address"):
        subscriber("http://127.0.0.1", CountingMeter()).run(lambda: False)


def test_pauses_double_up_to_the_longest_and_never_leave_their_jitter() -> None:
    patience = Patience(first_s=1.0, most_s=8.0)
    assert [patience.pause_s(failures, 0.0) for failures in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert all(patience.pause_s(failures, 0.999) < 8.0 for failures in range(1, 2_000))
