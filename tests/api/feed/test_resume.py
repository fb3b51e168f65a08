"""Coming back: what was missed follows if it is held, and where it is not the client hears so."""

import asyncio
from typing import Any

import msgspec
import pytest

from api.feed.channels import CHANNELS
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from api.feed.limits import FeedLimits
from api.feed.stream import Held, Stream
from infra.telemetry import Telemetry
from tests.api.fakes import NOW_NS, World, client_of, world
from tests.api.feed.conversation import against
from tests.api.feed.said import EPOCH, SaidLog, hold

CHANNELS_SAID = ("predictions", "bars", "trades")


def said(rounds: int = 10) -> SaidLog:
    log = SaidLog()
    for _ in range(rounds):
        log.round(CHANNELS_SAID, ["A", "B"])
    return log


def hub_over(log: SaidLog, most: int = 10**9, **limits: Any) -> FeedHub:
    hub = FeedHub(Telemetry(), lambda: NOW_NS, FeedLimits(**limits), epoch=EPOCH)
    hold(hub, log, most)
    return hub


def resumed(hub: FeedHub, channel: str, symbol: str, seq: int) -> list[Any]:
    """What a client is sent that resumes one stream."""
    client = hub.join()
    client.subscriptions.add(channel, symbol)
    hub.attach(client, channel, symbol, snapshot=False, resume={symbol: seq})
    frame = client.outbox.take(0.0)
    return [] if frame is None else msgspec.json.decode(frame)


def test_a_client_that_missed_more_than_may_wait_for_others_gets_it_all() -> None:
    log = SaidLog()
    first, *missed = [log.say("trades", "A").seq for _ in range(5_000)]
    hub = hub_over(log)
    client = hub.join()
    hub.attach(client, "trades", "A", snapshot=False, resume={"A": first or 0})
    found: list[int] = []
    sent = 0
    while frame := client.outbox.take(0.0):
        assert len(frame) <= hub.limits.frame_chars
        sent += len(frame)
        found += [message["seq"] for message in msgspec.json.decode(frame)]
    assert found == missed
    assert sent > hub.limits.queue_chars
    assert client.outbox.closing is None


@pytest.mark.parametrize("channel", CHANNELS_SAID)
def test_what_was_missed_comes_in_order_and_is_the_same_from_every_server(channel: str) -> None:
    log = said()
    one, other = hub_over(log), hub_over(log, 40)
    seqs = list(log.truth[channel, "A"])
    for n, seq in enumerate(seqs):
        missed = resumed(one, channel, "A", seq)
        assert [(m["seq"], m["data"]["n"]) for m in missed] == list(log.truth[channel, "A"].items())[n + 1 :]
        if other.can_resume(channel, "A", seq):
            assert resumed(other, channel, "A", seq) == missed
    assert one.can_resume(channel, "A", seqs[0])
    assert not other.can_resume(channel, "A", seqs[0])
    assert other.can_resume(channel, "A", seqs[-3])


def test_nobody_claims_to_know_what_came_before_the_first_message_that_passed() -> None:
    log = said()
    hub = hub_over(log, 12)  # two rounds
    first, second = list(log.truth["trades", "A"])[-2:]
    assert not hub.can_resume("trades", "A", first - 1)
    assert hub.can_resume("trades", "A", first)
    assert hub.can_resume("trades", "A", second)
    assert not hub.can_resume("trades", "C", 1)


def test_messages_that_are_said_twice_after_a_crash_of_the_flow_go_out_once() -> None:
    async def run() -> None:
        log, telemetry = said(), Telemetry()
        hub = FeedHub(telemetry, lambda: NOW_NS, epoch=EPOCH)
        client = hub.join()
        client.subscriptions.add("bars", "*")
        running = asyncio.create_task(hub.run())
        await asyncio.to_thread(hub.publish_many, [*log.messages, *log.tail(30), log.say("bars", "A")])
        while hub.messages < len(log.messages) + 30:
            await asyncio.sleep(0)
        frame = client.outbox.take(0.0)
        assert [m["seq"] for m in msgspec.json.decode(frame or b"[]") if m["symbol"] == "A"] == list(range(1, 12))
        assert b'tickwire_feed_duplicate_total{channel="bars"} 10.0' in telemetry.exposition()
        running.cancel()

    asyncio.run(run())


def test_what_is_held_is_bounded_and_the_oldest_goes_first() -> None:
    held = Held(20_000)
    streams = [Stream(CHANNELS["bars"], name) for name in "AB"]
    for n in range(1_000):
        held.keep(streams[n % 2].advance('"%s"' % ("x" * 100)))
        assert held.size <= 20_000
    kept = [[update.seq for update in stream.held] for stream in streams]
    assert kept[0] == kept[1] == list(range(501 - len(kept[0]), 501))
    assert 5 < len(kept[0]) < 40


def test_a_paced_client_resumes_with_the_newest_and_how_many_it_skipped() -> None:
    hub = hub_over(said(50))
    client = hub.join()
    client.subscriptions.add("predictions", "A")
    client.outbox.pace(1.0)
    hub.attach(client, "predictions", "A", snapshot=True, resume={"A": 20})
    (message,) = msgspec.json.decode(client.outbox.take(1.0) or b"[]")
    assert (message["type"], message["seq"], message["conflated"]) == ("update", 50, 29)


def restarted() -> tuple[World, SaidLog]:
    of, log = world(), said()
    of.hub = FeedHub(of.telemetry, lambda: NOW_NS, of.limits, epoch=EPOCH)
    hold(of.hub, log)
    return of, log


def test_the_ack_says_what_follows_and_what_is_not_held() -> None:
    of, log = restarted()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            ack = await client.subscribe(
                "bars", symbols=["*"], epoch=EPOCH, resume={"bars": {"A": 7, "Z": 3}, "outcomes": {"A": 1}}
            )
            assert ack["recovered"] == {"bars": {"A": True, "Z": False}, "outcomes": {"A": False}}
            assert [(m := await client.next())["seq"] for _ in range(3)] == [8, 9, 10]
            assert m["data"]["n"] == log.truth["bars", "A"][10]
        async with client_of(address) as client:
            ack = await client.subscribe(
                "predictions", symbols=["*"], epoch="another", resume={"predictions": {"A": 7}}
            )
            assert ack["recovered"] == {"predictions": {"A": False}}
            assert (await client.next())["type"] == "snapshot"

    against(of, conversation)


def test_a_new_log_is_a_new_epoch_and_everybody_comes_anew() -> None:
    of, _ = restarted()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.subscribe("bars", symbols=["*"])
            await asyncio.to_thread(of.hub.between, lambda: of.hub.begin_epoch("log-2"))
            goodbye = await client.next()
            assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "new_log")
            await client.socket.wait_closed()
            assert client.socket.close_code == 1012
        before = of.hub.messages
        await asyncio.to_thread(of.hub.publish_many, [Topical("bars", "A", b'{"n":1}', 1)])
        while of.hub.messages == before:  # nobody subscribes before the hub has it
            await asyncio.sleep(0)
        async with client_of(address) as client:
            ack = await client.subscribe("bars", epoch=EPOCH, resume={"bars": {"A": 10}})
            assert ack["recovered"] == {"bars": {"A": False}}
            await asyncio.to_thread(of.hub.publish_many, [Topical("bars", "A", b'{"n":2}', 2)])
            assert (await client.next())["seq"] == 2

    against(of, conversation)


def test_a_client_waits_until_what_was_said_before_has_been_read_again() -> None:
    of, log = world(), said()
    of.hub = FeedHub(of.telemetry, lambda: NOW_NS, of.limits, epoch=EPOCH)
    of.hub.filling |= {"bars"}

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.say(op="subscribe", channels=["bars"], symbols=["*"], epoch=EPOCH, resume={"bars": {"A": 9}})
            await asyncio.to_thread(of.hub.publish_many, log.messages)
            await asyncio.to_thread(of.hub.between, lambda: of.hub.filled({"bars"}))
            assert (await client.next())["recovered"] == {"bars": {"A": True}}
            assert (await client.next())["seq"] == 10

    against(of, conversation)


def test_ten_megabytes_that_were_missed_come_over_a_connection_and_what_is_said_meanwhile_behind_them() -> None:
    of, pad = world(), "x" * 400
    of.hub = FeedHub(of.telemetry, lambda: NOW_NS, of.limits, epoch=EPOCH)

    def trades(first: int, number: int) -> list[Topical]:
        return [
            Topical("trades", "A", b'{"n":%d,"pad":"%b"}' % (n, pad.encode()), n) for n in range(first, first + number)
        ]

    for message in trades(1, 20_000):
        of.hub.deliver(message)

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            ack = await client.subscribe("trades", symbols=["A"], epoch=EPOCH, resume={"trades": {"A": 1}})
            assert ack["recovered"] == {"trades": {"A": True}}
            found = [(await client.next())["seq"]]
            await asyncio.to_thread(of.hub.publish_many, trades(20_001, 100))
            while found[-1] < 20_100:
                message = await client.next()
                assert message["type"] == "update", message
                found.append(message["seq"])
            assert found == [*range(2, 20_101)]

    against(of, conversation)
