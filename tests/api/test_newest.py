"""A row in the store that another build wrote: it is told of, and stops nothing but itself."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from api.feed.features import FeatureFeed
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from api.feed.snapshots import Snapshots
from api.newest import Newest
from infra.telemetry import Telemetry
from schemas.errors import SchemaError
from schemas.rows import Latest
from tests.api.fakes import NOW_NS, LatestList, World, latest


@dataclass
class OfAnotherBuild(LatestList):
    """Some of the rows cannot be read."""

    others: set[str] = field(default_factory=lambda: {"B"})

    def read(self, symbol: str) -> Latest | None:
        if symbol in self.others:
            raise SchemaError(f"{symbol} is not a row of ours")
        return super().read(symbol)


def heard(client: Any) -> list[tuple[str, str]]:
    return [(m["channel"], m["symbol"]) for m in msgspec.json.decode(client.outbox.take(0.0) or b"[]")]


def test_it_is_left_out_of_the_feed_and_told_of_once_until_it_has_been_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        store = OfAnotherBuild([latest("A", seq=5), latest("B", seq=6)])
        hub, newest = FeedHub(Telemetry(), lambda: NOW_NS), Newest(store)
        feed, snapshots, client = FeatureFeed(hub, newest), Snapshots(hub, newest), hub.join()
        for channel in ("features", "predictions"):
            client.subscriptions.add(channel, "*")
            hub.attach(client, channel, "*", snapshot=True)
        assert await snapshots.unknown(["A", "B", "C"]) == ["C"]
        await snapshots.fill(["*"])
        hub.attach(client, "predictions", "*", snapshot=True)
        assert heard(client) == [("predictions", "A")]
        for seq in (7, 8):
            for symbol in ("A", "B"):
                hub.deliver(Topical("predictions", symbol, b"{}", seq))
            await feed.look()
        assert ("features", "A") in (told := heard(client))
        assert ("features", "B") not in told
        assert len(caplog.records) == 1
        store.others.clear()
        hub.deliver(Topical("predictions", "B", b"{}", 9))
        await feed.look()
        assert ("features", "B") in heard(client)

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())


def test_who_asks_for_it_by_rest_is_told_that_it_is_not_to_be_had_now() -> None:
    of = World(latest=OfAnotherBuild([latest("A"), latest("B")]))
    with TestClient(of.app(), raise_server_exceptions=False) as client:
        assert client.get("/v1/predictions/A").status_code == 200
        answer = client.get("/v1/predictions/B")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/backend-unavailable")
        assert "not a row of ours" not in answer.text
