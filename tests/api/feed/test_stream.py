"""The feed over a real socket: what a client sees, in which order."""

import asyncio

import msgspec
import websockets

from api.feed.channels import CHANNELS
from tests.api.fakes import FeedClient, client_of, latest, world
from tests.api.feed.conversation import DATA, against, publish


def test_welcome_says_the_session_the_epoch_and_the_limits() -> None:
    of = world()

    async def conversation(address: str) -> None:
        async with websockets.connect(f"ws://{address}/v1/stream") as socket:
            (welcome,) = msgspec.json.decode(await socket.recv())
            assert welcome.pop("session")
            assert welcome == {
                "type": "welcome", "epoch": of.hub.epoch, "heartbeat_s": 1.0, "server_time": 1_795_357_800_000_000_000,
                "channels": list(CHANNELS),
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
