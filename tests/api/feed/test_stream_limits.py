"""The feed over a real socket: signs of life, garbage, who is let in, and the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import websockets

from api.access.ports import Access
from api.feed.messages import BAD_MESSAGES, SERVICE_RESTART
from tests.api.access.keys import Keys
from tests.api.fakes import client_of, serving, world
from tests.api.feed.conversation import DATA, against, publish


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


@pytest.mark.parametrize("how", ["header", "message"])
def test_one_key_has_so_many_connections_and_no_more_and_leaves_places_to_others(how: str) -> None:
    of = world(max_connections=2)
    of.access = Access(Keys())

    @asynccontextmanager
    async def shown(address: str, key: str) -> AsyncIterator[None]:
        """Connected with the key, and welcomed."""
        headers = {"X-API-Key": key} if how == "header" else {}
        async with websockets.connect(f"ws://{address}/v1/stream", additional_headers=headers) as socket:
            if how == "message":
                await socket.send(json.dumps({"op": "auth", "key": key}))
            assert "welcome" in str(await socket.recv())
            yield

    async def conversation(address: str) -> None:
        async with shown(address, "tk_viewer"):
            async with shown(address, "tk_viewer"), shown(address, "tk_analyst"):
                with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosedError)) as refused:
                    async with shown(address, "tk_viewer"):
                        pass
                if isinstance(refused.value, websockets.InvalidStatus):
                    assert refused.value.response.status_code == 503
                else:
                    assert (refused.value.rcvd.code, refused.value.rcvd.reason) == (4004, "too_many_connections")  # type: ignore[union-attr]
            async with asyncio.timeout(30):
                while len(of.hub.clients) > 1:
                    await asyncio.sleep(0.01)
            async with shown(address, "tk_viewer"):
                pass

    against(of, conversation)


def test_of_many_that_come_at_once_with_one_key_no_more_are_let_in() -> None:
    of = world(max_connections=3)
    of.access = Access(Keys())

    async def conversation(address: str) -> None:
        sockets: list[websockets.ClientConnection] = []

        async def come() -> bool:
            try:
                headers = {"X-API-Key": "tk_viewer"}
                socket = await websockets.connect(f"ws://{address}/v1/stream", additional_headers=headers)
                sockets.append(socket)
                return "welcome" in str(await socket.recv())
            except (websockets.InvalidStatus, websockets.ConnectionClosedError):
                return False

        welcomed = await asyncio.gather(*(come() for _ in range(40)))
        for socket in sockets:
            await socket.close()
        assert sum(welcomed) == 3

    against(of, conversation)


def test_when_every_place_is_taken_the_next_client_is_refused_until_one_leaves() -> None:
    of = world(max_clients=1)

    async def conversation(address: str) -> None:
        async with client_of(address):
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with client_of(address):
                    pass
            assert refused.value.response.status_code == 503
        async with asyncio.timeout(30):
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
                async with asyncio.timeout(30):
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
