"""A client whose subscription is not taken is never left without a word."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from api.access.ports import Access, Allowance
from api.client import Feed, FeedError, Want
from tests.api.access.keys import Keys
from tests.api.access.limiter import Count
from tests.api.fakes import World, client_of, world
from tests.api.feed.conversation import DATA, against, publish

VIEWER = {"X-API-Key": "tk_viewer"}


@dataclass
class Later(Count):
    """`Limiter`: the first `most` are refused."""

    async def hit(self, who: str, kind: str) -> Allowance:
        allowance = await super().hit(who, kind)
        return Allowance(
            kind=kind, allowed=not allowance.allowed, limit=self.most, window_s=60, remaining=0, reset_s=1.0
        )


def limited_by(limiter: Count) -> World:
    of = world()
    of.access = Access(Keys(), limiter=limiter)
    return of


def test_the_first_subscription_of_a_connection_is_not_counted_and_whatever_follows_is() -> None:
    limiter = Count(1)

    async def conversation(address: str) -> None:
        for _ in range(3):
            async with client_of(address, additional_headers=VIEWER) as client:
                assert (await client.subscribe("bars"))["type"] == "ack"
        async with client_of(address, additional_headers=VIEWER) as client:
            await client.say(op="ping", id=1)
            assert (await client.next())["type"] == "pong"
            assert (await client.subscribe("bars"))["type"] == "ack"
            refused = await client.subscribe("trades")
            assert (refused["type"], refused["code"], refused["id"]) == ("error", "rate_limited", 7)

    against(limited_by(limiter), conversation)
    assert limiter.hits["key viewer", "message"] == 2


def test_an_error_names_the_message_that_it_answers_where_that_can_be_told() -> None:
    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            for said, named in [('{"op":"fly","id":"a"}', "a"), ('{"op":"ping","id":{}}', None), ("hello", None)]:
                await client.socket.send(said)
                assert (await client.next())["id"] == named

    against(world(), conversation)


def test_a_client_whose_subscription_is_one_too_many_comes_back_until_it_is_taken() -> None:
    of = limited_by(Later(2))
    feed: list[Feed] = []

    async def conversation(address: str) -> None:
        wants = [Want(["bars"], ["A"]), Want(["predictions"])]
        async with (
            Feed(f"ws://{address}/v1/stream", wants, headers=VIEWER, first_wait_s=0.01) as made,
            asyncio.timeout(30),
        ):
            feed.append(made)
            hearing = asyncio.ensure_future(anext(aiter(made)))
            while not hearing.done():
                await publish(of, ("predictions", "SIMA", DATA))
                await asyncio.sleep(0.01)
            assert (await hearing).channel == "predictions"

    against(of, conversation)
    assert feed[0].connects == 3


@pytest.mark.parametrize(
    ("channels", "symbols", "why"),
    [
        (["bars", "weather"], ["*"], "unknown_channel: weather"),
        (["alerts"], ["*"], "forbidden_channel: alerts"),
        (["bars"], ["X" * 33], "bad_message"),
    ],
)
def test_a_subscription_that_is_never_taken_is_an_error(
    channels: Sequence[str], symbols: Sequence[str], why: str
) -> None:
    of = world()
    of.access = Access(Keys(), anonymous=frozenset({"market:read"}))

    async def conversation(address: str) -> None:
        async with Feed(f"ws://{address}/v1/stream", [Want(channels, symbols)]) as feed, asyncio.timeout(30):
            with pytest.raises(FeedError, match=why):
                await anext(aiter(feed))

    against(of, conversation)
