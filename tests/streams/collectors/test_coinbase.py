"""Coinbase's messages become exactly the events they say."""

import json
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from schemas.errors import InputError, SchemaError
from schemas.events import Event, Heartbeat, Quote, Trade
from schemas.topics import EVENTS
from streams.collectors.coinbase import decode_trades, parse, subscribe
from tests.streams.collectors.exchange import CAPTURE, CONTROL, captured, heartbeat, match, subscriptions, ticker

NOW = 1_700_000_000_000_000_000


def oracle(message: dict[str, Any], ts_ingest: int) -> Event | None:
    """The event, by the text of the exchange's documentation."""
    if message["type"] not in ("match", "last_match", "ticker"):
        return None
    clock, _, fraction = message["time"].rstrip("Z").partition(".")
    seconds = datetime.strptime(clock, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
    at = int(seconds) * 10**9 + int(Fraction(f"0.{fraction or 0}") * 10**9)
    symbol = message["product_id"]
    if message["type"] == "ticker":
        return Quote(
            symbol=symbol, venue="COINBASE", seq=message["sequence"], ts_event=at, ts_ingest=ts_ingest,
            bid=float(message["best_bid"]), bid_size=float(message.get("best_bid_size", 0)),
            ask=float(message["best_ask"]), ask_size=float(message.get("best_ask_size", 0)),
        )  # fmt: skip
    return Trade(
        symbol=symbol, venue="COINBASE", seq=message["trade_id"], ts_event=at, ts_ingest=ts_ingest,
        price=float(message["price"]), size=float(message["size"]), side="buy" if message["side"] == "sell" else "sell",
        trade_id=str(message["trade_id"]),
    )  # fmt: skip


@pytest.mark.parametrize("payload", [match(7), match(8, last=True), ticker(99)])
def test_a_message_is_the_event_that_the_documentation_says(payload: bytes) -> None:
    assert parse(payload, NOW) == [oracle(json.loads(payload), NOW)]


def test_the_side_of_a_match_is_the_makers_so_the_aggressor_is_the_other() -> None:
    (sold,) = parse(match(8), NOW)
    assert json.loads(match(8))["side"] == "buy"
    assert isinstance(sold, Trade)
    assert sold.side == "sell"


def test_a_heartbeat_is_the_venues_and_its_time_is_its_number() -> None:
    assert parse(heartbeat(5, 3.25), NOW) == [
        Heartbeat(venue="COINBASE", seq=1_714_564_803_250_000, ts_event=1_714_564_803_250_000_000, ts_ingest=NOW)
    ]


def test_a_ticker_without_sizes_has_sizes_of_zero() -> None:
    message = {key: value for key, value in json.loads(ticker(1)).items() if not key.endswith("_size")}
    (quote,) = parse(json.dumps(message).encode(), NOW)
    assert isinstance(quote, Quote)
    assert (quote.bid_size, quote.ask_size) == (0.0, 0.0)


@pytest.mark.parametrize("payload", [subscriptions(), b'{"type":"status","products":[]}', b'{"type":"yet to come"}'])
def test_messages_that_say_nothing_make_nothing(payload: bytes) -> None:
    assert parse(payload, NOW) == []


def changed(payload: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(payload), **fields}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"garbage", b"\xff\xfe", b"[]", b"null", b'{"no":"type"}', b'{"type":7}', b"[" * 100_000,
        changed(match(1), price="0"), changed(match(1), price="-3"), changed(match(1), price="nan"),
        changed(match(1), price="inf"), changed(match(1), price=None), changed(match(1), size="0"),
        changed(match(1), side="both"), changed(match(1), trade_id=-1), changed(match(1), trade_id=10**30),
        changed(match(1), time="yesterday"), changed(match(1), time="2024-05-01T12:00:00"),
        changed(match(1), product_id=""), changed(match(1), product_id="X" * 33), changed(ticker(1), best_bid=""),
        changed(ticker(1), best_ask="0"), changed(ticker(1), sequence="many"), changed(heartbeat(1, 1), time=None),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_and_nothing_else_is_raised(payload: bytes) -> None:
    with pytest.raises(SchemaError, match="Coinbase message"):
        parse(payload, NOW)


def test_a_match_without_its_product_is_refused() -> None:
    message = {key: value for key, value in json.loads(match(1)).items() if key != "product_id"}
    with pytest.raises(SchemaError, match="product_id"):
        parse(json.dumps(message).encode(), NOW)


def test_a_refusal_carries_the_exchanges_reason() -> None:
    refusal = b'{"type":"error","message":"Failed to subscribe","reason":"BTC-USDX is not a valid product"}'
    with pytest.raises(InputError, match="Failed to subscribe: BTC-USDX is not a valid product"):
        parse(refusal, NOW)


def test_one_message_subscribes_to_everything() -> None:
    assert json.loads(subscribe(["BTC-USD", "ETH-USD"])) == {
        "type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["matches", "ticker", "heartbeat"],
    }  # fmt: skip


def test_a_page_of_trades_that_is_none_is_refused() -> None:
    with pytest.raises(SchemaError, match="Coinbase trades"):
        decode_trades(b'{"message":"maintenance"}')


@pytest.mark.shared_data
@pytest.mark.skipif(not CAPTURE.exists(), reason="the recorded Coinbase session is not beside this checkout")
def test_the_recorded_session_becomes_its_matches_and_tickers_and_nothing_else() -> None:
    events = [event for payload in captured() for event in parse(payload, NOW)]
    said = [oracle(json.loads(payload), NOW) for payload in captured()]
    assert events == [event for event in said if event is not None]
    assert (sum(isinstance(event, Trade) for event in events), len(events)) == (107, 214)
    assert all(EVENTS.decode(EVENTS.encode(event)) == event for event in events)


@pytest.mark.shared_data
@pytest.mark.skipif(not CONTROL.exists(), reason="the recorded control messages are not beside this checkout")
def test_recorded_heartbeats_and_refusals_are_understood() -> None:
    recorded = json.loads(CONTROL.read_text())
    for message in recorded["heartbeats"]:
        (beat,) = parse(json.dumps(message).encode(), NOW)
        assert isinstance(beat, Heartbeat)
        assert beat.state == "up"
    for message in recorded["errors"]:
        with pytest.raises(InputError, match=message["reason"]):
            parse(json.dumps(message).encode(), NOW)
    ours = json.loads(subscribe(recorded["subscribe"]["product_ids"]))
    assert ours == recorded["subscribe"]
