"""A message that some view cannot show is a gap for who asked for that view, and for nobody else; it costs no other message."""

import asyncio
from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from api.client import Message, Missed, Positions, _Any
from api.feed.client import Client
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from api.feed.stream import Update
from api.feed.views import view_of
from infra.telemetry import Telemetry
from tests.api.fakes import NOW_NS

LARGE = b'{"seq":18446744073709551616}'
ABSURD = b'{"seq":1e999}'
DEEP = b'{"seq":' + b"[" * 3_000 + b"]" * 3_000 + b"}"


def everything(client: Client) -> list[Any]:
    """Frames until there is nothing more."""
    found: list[Any] = []
    while frame := client.outbox.take(0.0):
        found += msgspec.msgpack.decode(frame) if isinstance(frame, bytes) else msgspec.json.decode(frame)
    return found


def heard(messages: list[Any]) -> list[int | str]:
    """What a client that checks the numbers makes of them: the seq of a message, why one was missed."""
    positions = Positions()
    told = [each for one in messages for each in positions.hear(msgspec.convert(one, _Any))]
    return [each.seq if isinstance(each, Message) else each.why for each in told if isinstance(each, Message | Missed)]


def client_of(hub: FeedHub, channel: str, *, packed: bool = False, columns: tuple[str, ...] = ()) -> Client:
    """A client of every symbol of the channel."""
    client = hub.join(packed=packed)
    client.outbox.show(channel, view_of(packed, columns))
    client.subscriptions.add(channel, "*")
    return client


def held_of(hub: FeedHub, channel: str) -> Collection[Update]:
    """What is held of the symbol `A`."""
    stream = hub._streams.find(channel, "A")
    assert stream is not None
    return stream.held


@pytest.mark.parametrize("channel", ["trades", "quotes", "bars"])
@pytest.mark.parametrize("payload", [LARGE, ABSURD, DEEP], ids=["large", "absurd", "deep"])
def test_it_is_a_gap_for_its_view_and_every_other_message_arrives(channel: str, payload: bytes) -> None:
    async def run() -> None:
        telemetry = Telemetry()
        hub = FeedHub(telemetry, lambda: NOW_NS)
        packed, whole = client_of(hub, channel, packed=True), client_of(hub, channel)
        step = 1 if channel == "bars" else 10
        bodies = [b"1", payload, b"3", b"4"]
        running = asyncio.create_task(hub.run())
        await asyncio.to_thread(
            hub.publish_many, [Topical(channel, "A", body, n * step) for n, body in enumerate(bodies, 1)]
        )
        async with asyncio.timeout(10):
            while hub.messages < len(bodies):
                await asyncio.sleep(0)
        assert heard(everything(packed)) == [step, "unsayable", 3 * step, 4 * step]
        assert [update.seq for update in held_of(hub, channel)] == [n * step for n in (1, 2, 3, 4)]
        assert (whole.outbox.take(0.0) or "").count('"update"') == 4
        running.cancel()
        assert f'tickwire_feed_refused_total{{channel="{channel}"}} 1.0'.encode() in telemetry.exposition()

    asyncio.run(run())


def test_who_comes_back_hears_of_it_too_and_the_newest_of_a_channel_may_be_one() -> None:
    hub = FeedHub(Telemetry(), lambda: NOW_NS)
    for channel in ("trades", "quotes"):
        for seq, body in ((10, b"1"), (20, b"2"), (30, ABSURD)):
            hub.deliver(Topical(channel, "A", body, seq))
    back = client_of(hub, "trades", columns=("seq",))
    hub.attach(back, "trades", "A", snapshot=False, resume={"A": 10})
    assert [(one["type"], one.get("seq", one.get("to"))) for one in everything(back)] == [("update", 20), ("gap", 30)]
    begins = client_of(hub, "quotes", packed=True)
    hub.attach(begins, "quotes", "A", snapshot=True)
    assert [(one["type"], one["from"], one["to"]) for one in everything(begins)] == [("gap", 30, 30)]


def test_a_message_without_a_number_that_nests_too_deep_is_refused() -> None:
    assert FeedHub(Telemetry(), lambda: NOW_NS).deliver(Topical("bars", "A", DEEP)) == "refused"


def test_what_is_held_keeps_no_view_but_json_however_often_somebody_comes_back_for_it() -> None:
    hub = FeedHub(Telemetry(), lambda: NOW_NS)
    client = client_of(hub, "trades", packed=True)
    for seq in range(1, 20):
        for channel in ("trades", "quotes"):
            hub.deliver(Topical(channel, "A", b'{"price":1.5}', seq))
    assert [one["data"] for one in everything(client)] == [{"price": 1.5}] * 19
    for column in ("price", "size", "venue"):
        for channel in ("trades", "quotes"):
            client.outbox.show(channel, view_of(True, (column,)))
            hub.attach(client, channel, "A", snapshot=False, resume={"A": 1})
        assert len(everything(client)) == 36
    held = [update for channel in ("trades", "quotes") for update in held_of(hub, channel)]
    assert len(held) == 38
    assert {update._viewed for update in held} == {None}
