"""The hub without sockets: numbering, the way in from other threads, heartbeats of many symbols."""

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from api.feed.channels import TEST_SYMBOL
from api.feed.hub import FeedHub
from api.feed.inbox import Inbox, Topical
from api.feed.limits import FeedLimits
from api.feed.outbox import Outbox
from api.feed.stream import Stream
from api.feed.subscriptions import Subscriptions
from infra.telemetry import Telemetry
from tests.api.fakes import NOW_NS


def hub_of(**limits: Any) -> FeedHub:
    """A hub with these limits."""
    return FeedHub(Telemetry(), lambda: NOW_NS, FeedLimits(**limits))


def taken(client: Any) -> list[dict[str, Any]]:
    """What waits for a client."""
    frame = client.outbox.take(0.0)
    return [] if frame is None else msgspec.json.decode(frame)


async def delivered(hub: FeedHub, messages: int) -> None:
    """Return when the hub has seen so many messages."""
    async with asyncio.timeout(10):
        while hub.messages < messages:
            await asyncio.sleep(0)


def test_a_channel_that_does_not_exist_is_refused_in_the_thread_that_publishes() -> None:
    with pytest.raises(ValueError, match="no channel 'weather'; there are"):
        hub_of().publish("weather", "SIMA", b"1")


def test_numbers_are_per_channel_and_symbol_and_the_same_for_all() -> None:
    async def run() -> None:
        hub = hub_of()
        one, other = hub.join(), hub.join()
        for client in (one, other):
            client.subscriptions.add("bars", "*")
            hub.attach(client, "bars", "*", snapshot=False)
        running = asyncio.create_task(hub.run())
        await asyncio.to_thread(
            hub.publish_many,
            [("bars", "A", b"1"), ("bars", "B", b"1"), ("predictions", "A", b"1"), ("bars", "A", b"1")],
        )
        await delivered(hub, 4)
        assert [(m["symbol"], m["seq"]) for m in taken(one)] == [("A", 1), ("B", 1), ("A", 2)]
        assert [(m["symbol"], m["seq"]) for m in taken(other)] == [("A", 1), ("B", 1), ("A", 2)]
        running.cancel()

    asyncio.run(run())


def test_threads_that_publish_at_the_same_time_lose_nothing() -> None:
    async def run() -> None:
        hub = hub_of(queue_chars=10_000_000, heartbeat_s=60.0)
        client = hub.join()
        client.subscriptions.add("bars", "*")
        hub.attach(client, "bars", "*", snapshot=False)
        running = asyncio.create_task(hub.run())

        def publish(name: str) -> None:
            for n in range(2_000):
                hub.publish("bars", name, str(n).encode())

        await asyncio.gather(*[asyncio.to_thread(publish, name) for name in "ABCD"])
        await delivered(hub, 8_000)
        got: dict[str, list[Any]] = {name: [] for name in "ABCD"}
        while frame := taken(client):
            for message in frame:
                got[message["symbol"]].append((message["seq"], message["data"]))
        assert got == {name: [(n + 1, n) for n in range(2_000)] for name in "ABCD"}
        running.cancel()

    asyncio.run(run())


def test_messages_from_before_the_start_are_delivered_at_the_start() -> None:
    async def run() -> None:
        hub = hub_of()
        hub.publish("bars", "A", b"1")
        running = asyncio.create_task(hub.run())
        await delivered(hub, 1)
        running.cancel()

    asyncio.run(run())


def test_a_publisher_waits_while_the_loop_is_far_behind_and_is_let_go_at_the_end() -> None:
    inbox = Inbox(lambda: None, capacity=10)
    inbox.put([("bars", "A", b"1")] * 10)
    blocked = threading.Thread(target=inbox.put, args=([("bars", "A", b"2")],))
    blocked.start()
    blocked.join(0.1)
    assert blocked.is_alive()
    assert [body for _, _, body in inbox.take(4)] == [b"1"] * 4
    blocked.join(30)
    assert not blocked.is_alive()
    inbox.put([("bars", "A", b"3")] * 3)
    blocked = threading.Thread(target=inbox.put, args=([("bars", "A", b"4")],))
    blocked.start()
    inbox.close()
    blocked.join(30)
    assert not blocked.is_alive()
    assert inbox.take(100) == []


def test_one_wake_up_serves_a_whole_batch() -> None:
    class CountingLoop(asyncio.SelectorEventLoop):
        calls = 0

        def call_soon_threadsafe(self, *arguments: Any, **more: Any) -> Any:  # type: ignore[override]
            self.calls += 1
            return super().call_soon_threadsafe(*arguments, **more)

    loop = CountingLoop()
    try:
        inbox = Inbox(lambda: None)
        inbox.open(loop)
        for _ in range(1_000):
            inbox.put([("bars", "A", b"1")])
        assert loop.calls == 1
        inbox.take(1_000)
        inbox.rest()
        inbox.put([("bars", "A", b"1")])
        assert loop.calls == 2
    finally:
        loop.close()


def test_a_fan_out_that_takes_long_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.feed.hub.DRAIN_S", -1.0)

    async def run() -> None:
        hub = hub_of()
        running = asyncio.create_task(hub.run())
        publishing = asyncio.create_task(asyncio.to_thread(hub.publish_many, [("bars", "A", b"1")] * 100))
        seen = set()
        while hub.messages < 100:
            seen.add(hub.messages)
            await asyncio.sleep(0)
        assert {32, 64, 96} <= seen
        await publishing
        running.cancel()

    asyncio.run(run())


def test_a_heartbeat_stays_small_and_names_every_symbol_in_turn() -> None:
    async def run() -> None:
        hub = hub_of(heartbeat_pairs=3)
        client = hub.join()
        client.subscriptions.add("bars", "*")
        hub.attach(client, "bars", "*", snapshot=False)
        running = asyncio.create_task(hub.run())
        await asyncio.to_thread(hub.publish_many, [("bars", f"S{n}", b"1") for n in range(8)])
        await delivered(hub, 8)
        taken(client)
        turns = []
        for _ in range(4):
            await hub._beat()
            turns.append(list(taken(client)[0]["seqs"]["bars"]))
        assert turns == [["S0", "S1", "S2"], ["S3", "S4", "S5"], ["S6", "S7"], ["S0", "S1", "S2"]]
        running.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("also", ["*", TEST_SYMBOL, "S3"])
def test_of_a_thousand_symbols_a_heartbeat_looks_at_those_that_it_names(
    monkeypatch: pytest.MonkeyPatch, also: str
) -> None:
    asked: list[str] = []
    wants, given = Subscriptions.wants, Outbox.given

    def counted(of: Subscriptions, channel: str, symbol: str) -> bool:
        asked.append(symbol)
        return wants(of, channel, symbol)

    def counted_too(of: Outbox, stream: Stream) -> int | None:
        asked.append(stream.symbol)
        return given(of, stream)

    monkeypatch.setattr(Subscriptions, "wants", counted)
    monkeypatch.setattr(Outbox, "given", counted_too)

    async def run() -> None:
        hub = hub_of(heartbeat_pairs=100, heartbeat_s=0.0)
        client = hub.join()
        for symbol in ("*", also):
            client.subscriptions.add("bars", symbol)
            hub.attach(client, "bars", symbol, snapshot=False)
        for n in range(1_000):
            hub.deliver(Topical("bars", f"S{n}", b"1"))
        hub.forget(["bars"])
        for n in range(1_000):
            hub.deliver(Topical("bars", f"S{n}", b"1"))
        while taken(client):
            pass
        running, named = asyncio.create_task(hub.run()), dict[str, int]()
        for _ in range(11):
            asked.clear()
            while not client.outbox.chars:
                await asyncio.sleep(0)
            assert len(asked) < 110
            named |= taken(client)[0]["seqs"]["bars"]
        assert set(named) - {TEST_SYMBOL} == {f"S{n}" for n in range(1_000)}
        assert (TEST_SYMBOL in named) == (also == TEST_SYMBOL)
        running.cancel()

    asyncio.run(run())


def test_heartbeats_of_many_clients_let_others_have_their_turn() -> None:
    async def run() -> None:
        hub = hub_of(heartbeat_s=0.0)
        clients = [hub.join() for _ in range(100)]
        running, told = asyncio.create_task(hub.run()), {0}
        async with asyncio.timeout(10):
            while max(told) < 99:
                await asyncio.sleep(0)
                told.add(sum(client.outbox.chars > 0 for client in clients))
                if max(told) == 48 and clients[99] in hub.clients:
                    hub.leave(clients[99], "client_left")
        assert sorted(told) == [*range(0, 97, 8), 99]
        running.cancel()

    asyncio.run(run())


def test_a_client_that_has_left_gets_nothing_and_is_forgotten() -> None:
    async def run() -> None:
        hub = hub_of()
        client = hub.join()
        client.subscriptions.add("bars", "*")
        hub.attach(client, "bars", "*", snapshot=False)
        running = asyncio.create_task(hub.run())
        hub.leave(client, "client_left")
        await asyncio.to_thread(hub.publish, "bars", "A", b"1")
        await delivered(hub, 1)
        assert taken(client) == []
        assert not hub.clients
        running.cancel()

    asyncio.run(run())


def test_who_subscribes_again_with_a_snapshot_misses_nothing() -> None:
    hub = hub_of()
    client = hub.join()
    client.subscriptions.add("predictions", "A")
    hub.attach(client, "predictions", "A", snapshot=True)
    client.outbox.pace(1.0)
    for text in (b"1", b"2", b"3"):
        hub.deliver(Topical("predictions", "A", text))
    hub.attach(client, "predictions", "A", snapshot=True)
    assert [(m["type"], m["seq"], m["conflated"]) for m in taken(client)] == [("update", 3, 2)]


def test_what_was_newest_before_the_start_does_not_replace_what_came_since() -> None:
    async def run() -> None:
        hub = hub_of()
        running = asyncio.create_task(hub.run())
        hub.seed("predictions", "A", b'"old"')
        await asyncio.to_thread(hub.publish, "predictions", "A", b'"new"')
        await delivered(hub, 1)
        hub.seed("predictions", "A", b'"old"')
        client = hub.join()
        hub.attach(client, "predictions", "A", snapshot=True)
        assert [(m["seq"], m["data"]) for m in taken(client)] == [(1, "new")]
        running.cancel()

    asyncio.run(run())
