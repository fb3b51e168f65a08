"""The feed over a real socket: what a client sees, in which order."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
import websockets

from api.feed.messages import BAD_MESSAGES, SERVICE_RESTART
from tests.api.fakes import FeedClient, World, client_of, latest, serving, world

DATA = b'{"symbol":"SIMA","price":101.255,"p_up":0.53}'


def against(of: World, conversation: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Run a conversation against the world's API on a real socket."""
    with serving(of) as (address, _):
        asyncio.run(conversation(address))


async def publish(of: World, *messages: tuple[str, str, bytes]) -> None:
    """As a consumer's thread would."""
    await asyncio.to_thread(of.hub.publish_many, messages)


def test_welcome_says_the_session_the_epoch_and_the_limits() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with websockets.connect(f"ws://{address}/v1/stream") as socket:
            (welcome,) = msgspec.json.decode(await socket.recv())
            assert welcome.pop("session")
            assert welcome == {
                "type": "welcome", "epoch": of.hub.epoch, "heartbeat_s": 1.0, "server_time": 1_795_357_800_000_000_000,
                "channels": ["predictions", "bars", "outcomes"],
                "limits": {
                    "max_subscriptions": 1000, "max_message_bytes": 65536, "max_conflate_ms": 10000,
                    "max_bad_messages": 10,
                },
            }  # fmt: skip

    against(of, conversation)


def test_ack_then_snapshot_then_updates_whose_data_is_the_topics_own_json() -> None:
    of = world(latest("SIMA"))

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            ack = await client.subscribe("predictions", symbols=["SIMA"])
            assert ack == {
                "type": "ack", "id": 7, "op": "subscribe", "subscriptions": {"predictions": ["SIMA"]},
                "conflate_ms": 0, "rejected": [],
            }  # fmt: skip
            snapshot = await client.next()
            assert (snapshot["type"], snapshot["seq"], snapshot["data"]["p_up"]) == ("snapshot", 0, 0.53)
            assert "features" not in snapshot["data"]
            await publish(of, ("predictions", "SIMA", DATA), ("predictions", "SIMA", DATA))
            update = {"type": "update", "channel": "predictions", "symbol": "SIMA", "data": msgspec.json.decode(DATA)}
            assert await client.next() == {**update, "seq": 1}
            assert await client.next() == {**update, "seq": 2}

    against(of, conversation)


def test_a_snapshot_of_what_has_passed_has_its_number_and_its_very_text() -> None:
    of = world()

    async def conversation(address: str) -> None:
        await publish(of, *[("predictions", "SIMA", b'{"n":%d}' % n) for n in range(5)])
        async with client_of(address) as client:
            await client.subscribe("predictions")
            snapshot = await client.next()
            assert (snapshot["type"], snapshot["seq"], snapshot["data"]) == ("snapshot", 5, {"n": 4})

    against(of, conversation)


def test_without_snapshot_updates_begin_at_once() -> None:
    of = world(latest("SIMA"))

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("predictions", "bars", snapshot=False)
            await publish(of, ("bars", "SIMA", b"{}"))
            assert (await client.next())["channel"] == "bars"

    against(of, conversation)


def test_subscriptions_add_up_and_are_taken_away_one_by_one() -> None:
    of = world(latest("SIMA"), latest("SIMB"))

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("bars", symbols=["SIMA"])
            ack = await client.subscribe("bars", "outcomes", symbols=["SIMB"])
            assert ack["subscriptions"] == {"bars": ["SIMA", "SIMB"], "outcomes": ["SIMB"]}
            await client.say(op="unsubscribe", id="x", channels=["bars"], symbols=["SIMB", "SIMZ"])
            ack = await client.next()
            assert (ack["op"], ack["id"]) == ("unsubscribe", "x")
            assert ack["subscriptions"] == {"bars": ["SIMA"], "outcomes": ["SIMB"]}
            await publish(of, ("bars", "SIMB", b"{}"), ("outcomes", "SIMA", b"{}"), ("bars", "SIMA", b'{"last":1}'))
            assert (await client.next())["data"] == {"last": 1}

    against(of, conversation)


def test_every_symbol_includes_those_to_come_and_excludes_nothing_named() -> None:
    of = world(latest("SIMA"))

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("bars", symbols=["SIMA", "*"])
            await publish(of, ("bars", "NEW", b"{}"))
            assert (await client.next())["symbol"] == "NEW"
            await client.say(op="unsubscribe", channels=["bars"], symbols=["*"])
            assert (await client.next())["subscriptions"] == {"bars": ["SIMA"]}
            await publish(of, ("bars", "NEW", b"{}"), ("bars", "SIMA", b"{}"))
            assert (await client.next())["symbol"] == "SIMA"

    against(of, conversation)


def test_what_cannot_be_subscribed_is_rejected_by_code_and_the_rest_is_taken() -> None:
    of = world(latest("SIMA"), max_subscriptions=2)

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            ack = await client.subscribe("bars", "weather", symbols=["SIMA", "NONE", "*"])
            assert ack["subscriptions"] == {"bars": ["SIMA", "*"]}
            assert ack["rejected"] == [
                {"code": "unknown_channel", "channel": "weather"},
                {"code": "unknown_symbol", "symbol": "NONE"},
            ]
            ack = await client.subscribe("outcomes", symbols=["*", "SIMA"])
            assert ack["rejected"] == [{"code": "too_many_subscriptions", "channel": "outcomes", "symbol": "*"}]

    against(of, conversation)


def test_while_the_store_is_down_known_symbols_are_served_and_others_can_wait() -> None:
    of = world()
    of.latest.down = True

    async def conversation(address: str) -> None:
        await publish(of, ("predictions", "SIMA", DATA))
        async with client_of(address) as client:
            ack = await client.subscribe("predictions", symbols=["SIMA", "SIMB"])
            assert ack["rejected"] == [{"code": "symbols_unavailable", "symbol": "SIMB"}]
            assert (await client.next())["type"] == "snapshot"

    against(of, conversation)


def test_seq_has_no_gap_over_20_000_messages_for_three_clients() -> None:
    of = world()
    symbols = ["SIMA", "SIMB", "SIMC", "SIMD"]

    async def read(client: FeedClient, seen: list[tuple[str, int, int, int]]) -> None:
        while len(seen) < 20_000:
            one = await client.next()
            seen.append((one["symbol"], one["seq"], one["data"]["n"], one.get("conflated", 0)))

    async def conversation(address: str) -> None:
        async with client_of(address) as one, client_of(address) as two, client_of(address) as three:
            for client in (one, two, three):
                await client.subscribe("predictions")
            seen: list[list[tuple[str, int, int, int]]] = [[], [], []]
            readers = asyncio.gather(*map(read, (one, two, three), seen))
            for first in range(0, 20_000, 50):
                await publish(of, *[("predictions", symbols[n % 4], b'{"n":%d}' % n) for n in range(first, first + 50)])
                while min(map(len, seen)) < first - 500 and not readers.done():  # nobody is behind: nothing conflates
                    await asyncio.sleep(0)
            await readers
            assert seen[0] == [(symbols[n % 4], n // 4 + 1, n, 0) for n in range(20_000)]
            assert seen[0] == seen[1] == seen[2]

    against(of, conversation)


def test_a_client_that_joins_late_sees_the_same_numbers() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as early:
            await early.subscribe("outcomes")
            await publish(of, *[("outcomes", "SIMA", b"1")] * 3)
            assert [(await early.next())["seq"] for _ in range(3)] == [1, 2, 3]
            async with client_of(address) as late:
                await late.subscribe("outcomes")
                await publish(of, ("outcomes", "SIMA", b"2"))
                assert (await early.next())["seq"] == (await late.next())["seq"] == 4

    against(of, conversation)


def test_a_paced_client_gets_the_newest_and_is_told_how_many_it_skipped() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            ack = await client.subscribe("predictions", "bars", conflate_ms=100)
            assert ack["conflate_ms"] == 100
            await publish(of, ("predictions", "SIMA", b'{"n":1}'))
            first = await client.next()
            assert (first["seq"], "conflated" in first) == (1, False)
            await publish(
                of, *[("predictions", "SIMA", b'{"n":%d}' % n) for n in (2, 3, 4)], ("bars", "SIMA", b'{"bar":1}')
            )
            assert (await client.next())["channel"] == "bars"
            second = await client.next()
            assert (second["seq"], second["conflated"], second["data"]) == (4, 2, {"n": 4})

    against(of, conversation)
    assert b"tickwire_feed_conflated_total 2.0" in of.telemetry.exposition()


def test_bars_and_outcomes_are_never_conflated() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("bars", "outcomes", conflate_ms=10_000)
            await publish(of, *[(channel, "SIMA", b"1") for channel in ("bars", "outcomes") for _ in range(100)])
            assert [(await client.next())["seq"] for _ in range(200)] == [*range(1, 101), *range(1, 101)]

    against(of, conversation)


def test_a_heartbeat_comes_each_second_with_the_last_numbers() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("predictions", "bars")
            await publish(of, *[("predictions", "SIMA", DATA)] * 3, ("bars", "SIMB", b"1"))
            for _ in range(4):
                await client.next()
            loop = asyncio.get_running_loop()
            times = []
            for n in (1, 2, 3, 4):
                heartbeat = await client.next(heartbeats=True)
                times.append(loop.time())
                assert (heartbeat["type"], heartbeat["n"]) == ("heartbeat", n)
                assert heartbeat["seqs"] == {"predictions": {"SIMA": 3}, "bars": {"SIMB": 1}}
            assert 2.8 < times[-1] - times[0] < 3.3

    against(of, conversation)


def test_ping_is_answered() -> None:
    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.say(op="ping", id=3)
            assert await client.next() == {"type": "pong", "id": 3, "server_time": 1_795_357_800_000_000_000}

    against(world(), conversation)


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        ("", "bad_json"),
        ("hello", "bad_json"),
        ('{"op":"subscribe"', "bad_json"),
        (b"\xff\xfe", "bad_json"),
        ('{"op":"ping","x":' + "[" * 30_000, "bad_json"),
        ("[" * 30_000, "bad_message"),
        ("null", "bad_message"),
        ("{}", "bad_message"),
        ('{"op":"fly"}', "bad_message"),
        ('{"op":"subscribe","channels":"bars","symbols":["*"]}', "bad_message"),
        ('{"op":"subscribe","channels":[],"symbols":["*"]}', "bad_message"),
        ('{"op":"subscribe","channels":["bars"],"symbols":["*"],"conflate_ms":-1}', "bad_message"),
        ('{"op":"subscribe","channels":["bars"],"symbols":["' + "X" * 33 + '"]}', "bad_message"),
        ('{"op":"ping","id":{}}', "bad_message"),
    ],
)
def test_garbage_is_answered_with_an_error_and_the_connection_goes_on(garbage: str | bytes, code: str) -> None:
    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.socket.send(garbage)
            error = await client.next()
            assert (error["type"], error["code"]) == ("error", code)
            assert error["message"]
            await client.say(op="ping", something_new=True)
            assert (await client.next())["type"] == "pong"

    against(world(), conversation)


def test_too_much_garbage_closes_the_connection() -> None:
    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            for _ in range(11):
                await client.socket.send("garbage")
            errors = [(await client.next())["type"] for _ in range(11)]
            assert errors == ["error"] * 11
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await client.next()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (BAD_MESSAGES, "bad_messages")

    against(world(), conversation)


def test_a_frame_of_a_megabyte_is_refused() -> None:
    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.socket.send("x" * 1_000_000)
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await client.next()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    against(world(), conversation)


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost.evil.example", "http://localhost@evil.example", "file://"],
)
def test_a_page_of_another_origin_is_refused_before_it_is_let_in(origin: str) -> None:
    async def conversation(address: str) -> None:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with client_of(address, origin=origin):
                pass
        assert refused.value.response.status_code == 403
        assert msgspec.json.decode(refused.value.response.body or b"")["type"] == "/problems/forbidden-origin"

    against(world(), conversation)


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:8000", "http://[::1]:1", "https://desk.example"]
)
def test_a_page_on_loopback_or_in_the_list_is_let_in(origin: str) -> None:
    of = world()
    of.origins = ["https://desk.example"]

    async def conversation(address: str) -> None:
        async with client_of(address, origin=origin) as client:
            await client.say(op="ping")
            assert (await client.next())["type"] == "pong"

    against(of, conversation)


def test_when_every_place_is_taken_the_next_client_is_refused_until_one_leaves() -> None:
    of = world(max_clients=1)

    async def conversation(address: str) -> None:
        async with client_of(address):
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with client_of(address):
                    pass
            assert refused.value.response.status_code == 503
        async with asyncio.timeout(5):
            while of.hub.clients:
                await asyncio.sleep(0.01)
        async with client_of(address):
            pass

    against(of, conversation)


def test_a_stop_says_goodbye_and_is_over_within_five_seconds() -> None:
    of = world()

    async def conversation() -> None:
        with serving(of) as (address, server):
            async with client_of(address) as client:
                await client.subscribe("bars")
                loop = asyncio.get_running_loop()
                began = loop.time()
                server.should_exit = True
                assert await client.next() == {"type": "goodbye", "reason": "shutdown", "reconnect_after_ms": 1000}
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await client.next()
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (SERVICE_RESTART, "goodbye")
                async with asyncio.timeout(5):
                    while of.hub.running:
                        await asyncio.sleep(0.01)
                assert loop.time() - began < 5

    asyncio.run(conversation())


def test_what_is_published_but_is_no_json_goes_to_nobody_and_is_counted() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("bars")
            await publish(of, ("bars", "SIMA", b'{"a":'), ("bars", "SIMA", b'"\xff"'), ("bars", "SIMA", b"1"))
            assert (await client.next())["seq"] == 1

    against(of, conversation)
    assert b'tickwire_feed_refused_total{channel="bars"} 2.0' in of.telemetry.exposition()
    assert b'tickwire_feed_messages_total{channel="bars"} 3.0' in of.telemetry.exposition()
