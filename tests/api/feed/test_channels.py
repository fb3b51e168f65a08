"""What can be subscribed to, and in which dress it comes: channels, columns, msgpack, revisions, the symbol that ticks."""

import asyncio
from typing import Any

import msgspec
import pytest
import websockets

from api.feed.channels import BAR_KINDS, CHANNELS
from api.feed.features import FeatureFeed
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from api.feed.stream import Stream
from api.feed.ticking import Ticking
from api.feed.views import framed, view_of
from api.newest import Newest
from infra.telemetry import Telemetry
from processors.bars import KINDS
from schemas.topics import EVENTS, PREDICTIONS
from tests.api.fakes import NOW_NS, LatestList, client_of, latest, world
from tests.api.feed.conversation import against, publish

NS = 1_000_000_000


def test_every_kind_of_bar_that_the_fold_makes_has_a_channel() -> None:
    assert tuple(kind.name for kind in KINDS) == BAR_KINDS


def test_a_bar_that_is_issued_again_is_a_revision() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("bars.1m")
            bars = [Topical("bars.1m", "A", b'{"rev":0}', 4), Topical("bars.1m", "A", b'{"rev":1}', 5, revises=True)]
            await asyncio.to_thread(of.hub.publish_many, bars)
            assert [((m := await client.next())["type"], m["seq"]) for _ in bars] == [("update", 4), ("revise", 5)]

    against(of, conversation)


def test_numbers_with_holes_name_the_message_before_them_also_where_some_are_skipped() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("quotes", conflate_ms=50)
            quotes = [Topical("quotes", "A", b'{"n":%d}' % n, seq) for n, seq in enumerate((3, 8, 21, 22))]
            await asyncio.to_thread(of.hub.publish_many, quotes[:1])
            assert {(m := await client.next())["prev"], m["seq"]} == {0, 3}
            await asyncio.to_thread(of.hub.publish_many, quotes[1:])
            message = await client.next()
            assert (message["seq"], message["prev"], message["conflated"]) == (22, 3, 2)

    against(of, conversation)


def test_columns_are_chosen_per_channel_and_unknown_ones_are_rejected() -> None:
    of = world(latest("SIMA"))

    async def conversation(address: str) -> None:
        async with client_of(address) as client, client_of(address) as whole:
            ack = await client.subscribe("predictions", symbols=["SIMA"], columns=["p_up", "weather"], snapshot=False)
            assert ack["rejected"] == [{"code": "unknown_column", "channel": "predictions", "column": "weather"}]
            await whole.subscribe("predictions", symbols=["SIMA"], snapshot=False)
            await publish(of, ("predictions", "SIMA", b'{"symbol":"SIMA","p_up":0.5}'))
            assert (await client.next())["data"] == {"p_up": 0.5}
            assert (await whole.next())["data"] == {"symbol": "SIMA", "p_up": 0.5}
            await client.subscribe("predictions", symbols=["SIMA"], columns=["*"], snapshot=False)
            await publish(of, ("predictions", "SIMA", b'{"symbol":"SIMA","p_up":0.6}'))
            assert (await client.next())["data"] == {"symbol": "SIMA", "p_up": 0.6}

    against(of, conversation)


def test_msgpack_says_the_same_as_json_and_takes_ops_in_both() -> None:
    of = world(latest("SIMA"))

    async def frame(socket: Any) -> list[dict[str, Any]]:
        while True:
            found = msgspec.msgpack.decode(await socket.recv())
            if found[0]["type"] != "heartbeat":
                return found  # type: ignore[no-any-return]

    async def conversation(address: str) -> None:
        url, op = (
            f"ws://{address}/v1/stream",
            {"op": "subscribe", "id": 1, "channels": ["predictions"], "symbols": ["*"]},
        )
        packed = [websockets.Subprotocol("another"), websockets.Subprotocol("tickwire.v1.msgpack")]
        async with websockets.connect(url, subprotocols=packed) as socket, client_of(address) as plain:
            assert socket.subprotocol == "tickwire.v1.msgpack"
            assert (await frame(socket))[0]["epoch"] == of.hub.epoch
            await socket.send(msgspec.msgpack.encode(op))
            ack = await frame(socket)
            await plain.say(**op)
            assert ack[0] == await plain.next()
            snapshot = ack[1:] or await frame(socket)
            assert snapshot[0] == await plain.next()
            await socket.send(b"\xc1")
            assert (await frame(socket))[0]["code"] == "bad_json"
            await publish(of, *[("predictions", "SIMA", b'{"n":%d}' % n) for n in range(40)])
            told: list[dict[str, Any]] = []
            while len(told) < 40:
                told += await frame(socket)
            assert told == [await plain.next() for _ in range(40)]

    against(of, conversation)


@pytest.mark.parametrize("n", [1, 15, 16, 65_535, 65_536])
def test_a_frame_of_any_length_is_one_msgpack_array(n: int) -> None:
    assert msgspec.msgpack.decode(framed([b"\x01"] * n)) == [1] * n


def test_a_message_is_encoded_once_for_all_clients_of_one_view() -> None:
    update = Stream(CHANNELS["predictions"], "A").advance('{"p_up":0.5,"price":1}')
    for view in (view_of(False), view_of(True), view_of(True, ("p_up",))):
        assert update.piece(view) is update.piece(view)


def test_the_pace_belongs_to_the_channels_that_were_named() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("quotes", conflate_ms=10_000)
            await client.subscribe("predictions")
            both = [("quotes", "A", b"1"), ("predictions", "A", b"1")]
            await publish(of, *both)
            assert {(await client.next())["channel"], (await client.next())["channel"]} == {"quotes", "predictions"}
            await publish(of, *both, *both)
            assert [((m := await client.next())["channel"], m["seq"]) for _ in range(2)] == [
                ("predictions", 2), ("predictions", 3),
            ]  # fmt: skip

    against(of, conversation)


def test_the_test_symbol_ticks_for_who_asks_for_it_and_only_for_him() -> None:
    of, now = world(heartbeat_s=0.02), [NOW_NS]
    of.hub = FeedHub(of.telemetry, lambda: now[0], of.limits)

    async def conversation(address: str) -> None:
        async with client_of(address) as client, client_of(address) as others:
            await others.subscribe("trades", "quotes", "predictions")
            ack = await client.subscribe("trades", symbols=["TEST"])
            assert ack["rejected"] == []
            for n in (1, 2):
                now[0] += NS
                tick = await client.next()
                assert (tick["symbol"], tick["seq"], tick["prev"]) == ("TEST", NOW_NS // NS + n, NOW_NS // NS + n - 1)
                assert tick["data"]["test"] is True
            await publish(of, ("trades", "TEST", b'{"forged":1}'), ("trades", "A", b'{"n":1}'))
            assert (await others.next())["symbol"] == "A"
            now[0] += NS
            assert "forged" not in (await client.next())["data"]

    against(of, conversation)
    assert b'tickwire_feed_refused_total{channel="trades"} 1.0' in of.telemetry.exposition()


def test_ticks_have_the_shape_of_what_is_on_the_topics() -> None:
    trade, quote, prediction = [msgspec.json.decode(tick.payload) for tick in Ticking().until(NOW_NS)]
    EVENTS.decode(msgspec.json.encode(trade))
    EVENTS.decode(msgspec.json.encode(quote))
    source = {"log_id": "", "src_partition": 0, "src_offset": 0, "features_id": ""}
    PREDICTIONS.decode(msgspec.json.encode({**source, **prediction}))


def test_features_come_from_the_newest_rows_of_what_was_scored_since() -> None:
    async def run() -> None:
        store = LatestList([latest("A", seq=5), latest("B", seq=7)])
        hub = FeedHub(Telemetry(), lambda: NOW_NS)
        feed, client = FeatureFeed(hub, Newest(store)), hub.join()
        client.subscriptions.add("features", "*")
        hub.attach(client, "features", "*", snapshot=True)
        for symbol, seq in (("A", 5), ("B", 7)):
            hub.deliver(Topical("predictions", symbol, b"{}", seq))
        await feed.look()
        first = msgspec.json.decode(client.outbox.take(0.0) or b"[]")
        assert [(m["symbol"], m["seq"], m["data"]["vwap_dev_60s"]) for m in first] == [
            ("A", 5, 0.0004),
            ("B", 7, 0.0004),
        ]
        await feed.look()
        assert client.outbox.take(0.0) is None
        store.rows[0] = latest("A", seq=9, features={"vwap_dev_60s": 0.5})
        hub.deliver(Topical("predictions", "A", b"{}", 9))
        await feed.look()
        (second,) = msgspec.json.decode(client.outbox.take(0.0) or b"[]")
        assert (second["seq"], second["prev"], second["data"]["vwap_dev_60s"]) == (9, 5, 0.5)
        store.down = True
        hub.deliver(Topical("predictions", "A", b"{}", 10))
        await feed.look()
        store.down = False
        await feed.look()
        assert client.outbox.take(0.0) is None  # the store's row is the old one: nothing new to say

    asyncio.run(run())
