"""What a client names many times is done once, and columns that there are not cost nothing."""

import asyncio
from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from api.feed.channels import CHANNELS
from api.feed.features import _payload
from api.feed.hub import FeedHub
from api.feed.views import CHOICES, JSON, _chosen, view_of
from processors.features import FEATURE_NAMES
from tests.api.fakes import client_of, latest, world
from tests.api.feed.conversation import against


def test_what_is_named_a_thousand_times_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    attached: list[tuple[str, str]] = []
    detached: list[str] = []
    attach, detach = FeedHub.attach, FeedHub.detach

    def counted(hub: FeedHub, client: Any, channel: str, symbol: str, **more: Any) -> None:
        attached.append((channel, symbol))
        attach(hub, client, channel, symbol, **more)

    def counted_too(hub: FeedHub, client: Any, channel: str) -> None:
        detached.append(channel)
        detach(hub, client, channel)

    monkeypatch.setattr(FeedHub, "attach", counted)
    monkeypatch.setattr(FeedHub, "detach", counted_too)
    channels, symbols = ["predictions", "bars"], ["*", "SIMA"]
    named: dict[str, Any] = {"channels": [*channels, "weather"] * 333, "symbols": symbols * 500}

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            await client.say(op="subscribe", id=7, **named, columns=["price", "moon"] * 500, snapshot=False)
            ack = await client.next()
            assert ack["subscriptions"] == dict.fromkeys(channels, symbols)
            assert ack["rejected"] == [
                {"code": "unknown_channel", "channel": "weather"},
                {"code": "unknown_column", "channel": "predictions", "column": "moon"},
                {"code": "unknown_column", "channel": "bars", "column": "price"},
                {"code": "unknown_column", "channel": "bars", "column": "moon"},
            ]
            assert attached == [(channel, symbol) for channel in channels for symbol in symbols]
            await client.say(op="unsubscribe", id=8, **named)
            ack = await client.next()
            assert (ack["subscriptions"], len(ack["rejected"]), detached) == ({}, 1, channels)

    against(world(latest("SIMA")), conversation)


@pytest.mark.parametrize("down", [False, True])
def test_a_symbol_that_is_named_many_times_is_refused_once(down: bool) -> None:
    of = world(latest("SIMA"))
    of.latest.down = down
    code = "symbols_unavailable" if down else "unknown_symbol"

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            ack = await client.subscribe("bars", symbols=["GONE", "*"] * 500, snapshot=False)
            assert ack["rejected"] == [{"code": code, "symbol": "GONE"}]
            assert ack["subscriptions"] == {"bars": ["*"]}

    against(of, conversation)


def test_columns_of_features_are_those_there_are_and_each_once() -> None:
    of, seen = world(latest("SIMA")), list[Collection[str]]()

    async def conversation(address: str) -> None:
        async with client_of(address) as client:
            columns = ["vwap_dev_60s"] * 999 + ["x" * 32]
            ack = await client.subscribe("features", symbols=["SIMA"], columns=columns)
            assert ack["rejected"] == [{"code": "unknown_column", "channel": "features", "column": "x" * 32}]
            seen.extend(view.columns for client in of.hub.clients for view in client.outbox._views.values())
            await asyncio.to_thread(of.hub.publish, "features", "SIMA", _payload(latest("SIMA")))
            assert (await client.next())["data"] == {"vwap_dev_60s": 0.0004}

    against(of, conversation)
    assert seen == [("vwap_dev_60s",)]


def test_every_field_of_a_message_of_features_can_be_chosen() -> None:
    row = latest("SIMA", features=dict.fromkeys(FEATURE_NAMES, 1.0))
    assert tuple(msgspec.json.decode(_payload(row))) == CHANNELS["features"].columns


def test_views_of_a_few_choices_of_columns_are_remembered_and_whole_ones_always() -> None:
    for n in range(CHOICES + 10):
        view_of(True, (f"column {n}",))
    assert _chosen.cache_info().currsize <= CHOICES
    assert view_of(False) is JSON
    assert view_of(True) is view_of(True)
