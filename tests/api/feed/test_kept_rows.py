"""Rows that the store keeps, and the messages that they stand for: of another log, behind the topic, ahead of it."""

import asyncio
from typing import Any

import msgspec
import pytest

from api.client import _FRAME, Message, Positions
from api.feed.features import FeatureFeed
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from api.feed.snapshots import Snapshots
from api.newest import Newest
from infra.telemetry import Telemetry
from tests.api.fakes import NOW_NS, LatestList, latest


class Kept:
    """A hub of one log over a store, and one client that wants everything of a channel."""

    def __init__(self, channel: str, *rows: Any, log: str = "L2") -> None:
        self.store = LatestList(list(rows))
        self.hub, newest = FeedHub(Telemetry(), lambda: NOW_NS, epoch=log), Newest(self.store)
        self.feed, self.snapshots = FeatureFeed(self.hub, newest), Snapshots(self.hub, newest)
        self.client = self.client_of(channel)

    def client_of(self, channel: str, symbol: str = "*", *, snapshot: bool = False) -> Any:
        client = self.hub.join()
        client.subscriptions.add(channel, symbol)
        self.hub.attach(client, channel, symbol, snapshot=snapshot)
        return client

    def scored(self, symbol: str, seq: int) -> str:
        return self.hub.deliver(Topical("predictions", symbol, b"{}", seq))


def heard(client: Any) -> list[tuple[str, str, int]]:
    return [(m["type"], m["symbol"], m["seq"]) for m in msgspec.json.decode(client.outbox.take(0.0) or b"[]")]


def test_a_row_of_another_log_is_a_snapshot_without_a_number_and_holds_nothing_back() -> None:
    async def run() -> None:
        kept = Kept("bars", latest("A", log_id="L1", seq=1_000))
        await kept.snapshots.fill(["A"])
        client = kept.client_of("predictions", "A", snapshot=True)
        assert kept.scored("A", 1) == ""
        kept.scored("A", 2)
        assert heard(client)[-1][1:] == ("A", 2)

    asyncio.run(run())


def test_a_row_of_this_log_is_a_snapshot_with_its_number() -> None:
    async def run() -> None:
        kept = Kept("bars", latest("A", log_id="L2", seq=1_000))
        await kept.snapshots.fill(["A"])
        client = kept.client_of("predictions", "A", snapshot=True)
        assert kept.scored("A", 1_000) == "duplicate"
        assert heard(client) == [("snapshot", "A", 1_000)]

    asyncio.run(run())


def test_what_is_read_for_another_client_keeps_nothing_from_who_waits_for_the_messages() -> None:
    async def run() -> None:
        kept = Kept("predictions", latest("A", log_id="L2", seq=5))
        await kept.snapshots.fill(["A"])
        other = kept.client_of("predictions", "A", snapshot=True)
        assert heard(other) == [("snapshot", "A", 0)]
        for seq in (4, 5, 6):
            kept.scored("A", seq)
        assert heard(kept.client) == [("update", "A", seq) for seq in (4, 5, 6)]

    asyncio.run(run())


@pytest.mark.parametrize("seq", [2, 5])
def test_a_row_sets_no_stream_back_that_counts_itself_and_hides_no_gap(seq: int) -> None:
    async def run() -> None:
        kept, positions = Kept("bars", latest("A", log_id="L2", seq=seq), log=""), Positions(epoch="own", returned=True)
        for _ in range(3):
            kept.hub.deliver(Topical("predictions", "A", b"{}"))
        positions.last["predictions", "A"] = 3
        kept.hub.forget(["predictions"])
        await kept.snapshots.fill(["A"])
        client = kept.client_of("predictions", "A", snapshot=True)
        frame = client.outbox.take(0.0)
        kept.hub.deliver(Topical("predictions", "A", b"{}"))
        told = [positions.hear(each) for each in _FRAME.decode(frame) + _FRAME.decode(client.outbox.take(0.0))]
        assert [[each.seq if isinstance(each, Message) else each.after for each in heard] for heard in told] == [
            [0], [3, 5],
        ]  # fmt: skip

    asyncio.run(run())


def test_numbers_of_rows_mean_nothing_to_a_hub_that_counts_itself() -> None:
    async def run() -> None:
        kept = Kept("bars", latest("A", log_id="L2", seq=1_000), log="")
        await kept.snapshots.fill(["A"])
        client = kept.client_of("predictions", "A", snapshot=True)
        assert heard(client) == [("snapshot", "A", 0)]
        kept.hub.forget(["predictions"])
        kept.hub.deliver(Topical("predictions", "A", b"{}"))
        assert heard(client) == [("update", "A", 1)]

    asyncio.run(run())


def test_features_of_another_log_are_left_out_until_this_log_has_a_row() -> None:
    async def run() -> None:
        kept = Kept("features", latest("A", log_id="L1", seq=1_000))
        kept.scored("A", 1)
        await kept.feed.look()
        assert heard(kept.client) == []
        kept.store.rows[0] = latest("A", log_id="L2", seq=1)
        await kept.feed.look()
        assert heard(kept.client) == [("update", "A", 1)]

    asyncio.run(run())


def test_a_row_that_is_behind_its_prediction_is_looked_at_again() -> None:
    async def run() -> None:
        kept = Kept("features", latest("A", log_id="L2", seq=6))
        kept.scored("A", 7)
        await kept.feed.look()
        assert heard(kept.client) == [("update", "A", 6)]
        kept.store.rows[0] = latest("A", log_id="L2", seq=7)
        await kept.feed.look()
        assert heard(kept.client) == [("update", "A", 7)]
        kept.store.rows.clear()
        await kept.feed.look()
        kept.scored("A", 8)
        await kept.feed.look()
        kept.store.rows.append(latest("A", log_id="L2", seq=8))
        await kept.feed.look()
        assert heard(kept.client) == [("update", "A", 8)]

    asyncio.run(run())


def test_a_row_that_is_ahead_of_its_prediction_is_not_looked_at_again_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        kept, asked = Kept("features", latest("A", log_id="L2", seq=9)), list[str]()
        read = kept.store.read
        monkeypatch.setattr(kept.store, "read", lambda symbol: asked.append(symbol) or read(symbol))
        for seq in (7, 8, 9):
            kept.scored("A", seq)
            await kept.feed.look()
        assert (heard(kept.client), asked) == ([("update", "A", 9)], ["A"])

    asyncio.run(run())


def test_symbols_whose_row_stays_behind_keep_no_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.feed.features.MOST", 2)

    async def run() -> None:
        kept = Kept("features", *[latest(symbol, log_id="L2", seq=1) for symbol in "EF"])
        for symbol in "ABCDEF":
            kept.scored(symbol, 1)
        for _ in range(3):
            await kept.feed.look()
        assert sorted(heard(kept.client)) == [("update", "E", 1), ("update", "F", 1)]

    asyncio.run(run())


def test_a_new_log_begins_with_nothing_looked_at() -> None:
    async def run() -> None:
        kept = Kept("features", latest("A", log_id="L1", seq=7), log="L1")
        kept.scored("A", 7)
        await kept.feed.look()
        kept.hub.begin_epoch("L2")
        kept.store.rows[0] = latest("A", log_id="L2", seq=3)
        kept.scored("A", 3)
        client = kept.client_of("features")
        await kept.feed.look()
        assert heard(client) == [("update", "A", 3)]

    asyncio.run(run())
