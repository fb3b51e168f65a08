"""What the feed takes of a topic, record by record, and what becomes of it when some of them are gone."""

import asyncio
import threading
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError

from api.feed.channels import CHANNELS
from api.feed.client import Client
from api.feed.hub import FeedHub
from infra.feed_source import FeedSource, on_the_log, said_by_flow, sources
from infra.settings import Kafka
from infra.telemetry import Telemetry
from schemas.events import Heartbeat
from schemas.topics import BARS, EVENTS
from tests.api.fakes import bar
from tests.infra.feed_listener import Listener

LOG = "log-1"


class Record:
    """What confluent_kafka gives of a record."""

    def __init__(self, topic: str, key: str, value: bytes, offset: int = 0) -> None:
        self.told = (topic, key, value, offset)

    def topic(self) -> str:
        return self.told[0]

    def key(self) -> bytes:
        return self.told[1].encode()

    def value(self) -> bytes:
        return self.told[2]

    def offset(self) -> int:
        return self.told[3]

    def partition(self) -> int:
        return 0

    def error(self) -> None:
        return None


def test_a_bar_is_of_two_channels_with_a_number_in_each() -> None:
    hub = FeedHub(Telemetry(), time.time_ns, epoch=LOG)
    _, events = sources(Kafka(), hub, lambda: 0, lambda: LOG)
    read = sources(Kafka(), hub, lambda: 0, lambda: LOG)[0].read
    again = BARS.encode(bar(1, "A", "1m", log_id=LOG, seq=9, kind_seq=4, rev=1))
    assert [(m.channel, m.seq, m.revises) for m in read(Record(BARS.name, "A", again))] == [
        ("bars", 9, True), ("bars.1m", 4, True),
    ]  # fmt: skip
    assert events.read is on_the_log
    assert (
        on_the_log(Record(EVENTS.name, "", EVENTS.encode(Heartbeat(venue="X", seq=1, ts_event=1, ts_ingest=1)))) == []
    )


def test_what_a_replay_says_is_counted_by_the_hub() -> None:
    read = said_by_flow(None, {"replay.x": "outcomes"})
    assert read(Record("replay.x", "A", b'{"seq":7}'))[0].seq is None


def test_a_client_that_never_asked_is_no_reason_to_read() -> None:
    hub = FeedHub(Telemetry(), time.time_ns, epoch=LOG)
    _, events = sources(Kafka(), hub, lambda: 0, lambda: LOG)
    client: Client = hub.join()
    assert not events.wanted()
    client.asked.add("quotes")
    hub.asked |= client.asked
    assert events.wanted()


TRADE = b'{"type":"trade","symbol":"A","venue":"X","seq":1,"ts_event":1,"ts_ingest":1,"price":1.5,"size":1'


@pytest.mark.parametrize(
    "value",
    [
        b'{"type":"trade","price":1e999}',
        b'{"type":"trade","more":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
        b'{"more":' + b"[" * 100_000 + b"]" * 100_000 + b',"type":"trade"}',
        b"[" * 1_000,
        TRADE.replace(b"1.5", b"1e999") + b"}",
        TRADE + b',"more":1e999}',
        TRADE + b',"more":18446744073709551616}',
        TRADE + b',"more":' + b"[" * 950 + b"]" * 950 + b"}",
        TRADE + b',"more":"\xff"}',
        TRADE + b" " * 65_536 + b"}",
    ],
    ids=lambda value: f"{value[-30:]!r}",
)
def test_what_the_fold_rejects_or_some_client_cannot_be_told_is_left_out(value: bytes) -> None:
    _, events = sources(Kafka(), FeedHub(Telemetry(), time.time_ns, epoch=LOG), lambda: 0, lambda: LOG)
    topical = events._topical([Record(EVENTS.name, "A", each, 7) for each in (value, TRADE + b"}")])
    assert [(m.channel, m.symbol, m.payload, m.seq) for m in topical] == [("trades", "A", TRADE + b"}", 8)]


def test_a_record_that_nests_too_deep_ends_no_reader_of_what_we_say() -> None:
    flow, _ = sources(Kafka(), FeedHub(Telemetry(), time.time_ns, epoch=LOG), lambda: 0, lambda: LOG)
    assert flow._topical([Record(BARS.name, "A", b'{"more":' + b"[" * 3_000 + b"]" * 3_000 + b"}")]) == []


def test_an_event_with_a_field_of_a_later_build_is_said_as_it_stands() -> None:
    value = TRADE + b',"auction":{"round":18446744073709551615,"imbalance":[1e308]}}'
    assert [m.payload for m in on_the_log(Record(EVENTS.name, "A", value))] == [value]


class Lost(Record):
    """That the broker no longer has the offset."""

    def error(self) -> Any:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)


class Told:
    """A consumer of partitions in which nothing is yet, and to which these records come."""

    def __init__(self, waiting: list[Record]) -> None:
        self.waiting = waiting

    def offsets_for_times(self, partitions: list[Any], _: float) -> list[Any]:
        return partitions

    def get_watermark_offsets(self, *_: Any) -> tuple[int, int]:
        return 0, 0

    def assign(self, _: list[Any]) -> None:
        """Whatever is said comes."""

    def poll(self, wait_s: float) -> Record | None:
        if not self.waiting:
            time.sleep(wait_s)
        return self.waiting.pop(0) if self.waiting else None

    def consume(self, *_: Any) -> list[Record]:
        taken, self.waiting = self.waiting, []
        return taken

    def close(self) -> None:
        """Nothing is open."""


EVENT, REPLAYED = TRADE + b"}", b"{}"


@pytest.mark.parametrize(
    ("topic", "channel", "read", "value", "links"),
    [
        (EVENTS.name, "trades", on_the_log, EVENT, [(5, 0), (6, 5), (501, 0), (502, 501)]),
        (
            "replay.x",
            "outcomes",
            said_by_flow(None, {"replay.x": "outcomes"}),
            REPLAYED,
            [(1, 0), (2, 1), (4, 3), (5, 4)],
        ),
    ],
    ids=["numbers of the log", "numbers of our own"],
)
def test_a_reader_that_falls_behind_what_is_kept_begins_anew_and_clients_see_that_they_missed_something(
    monkeypatch: pytest.MonkeyPatch, topic: str, channel: str, read: Any, value: bytes, links: list[tuple[int, int]]
) -> None:
    told, configs = (
        [[Record(topic, "A", value, n) for n in (4, 5)], [Record(topic, "A", value, n) for n in (500, 501)]],
        [],
    )
    told[0].append(Lost(topic, "A", b"", 6))

    def consumer(config: dict[str, Any]) -> Told:
        configs.append(config)
        return Told(told.pop(0) if told else [])

    monkeypatch.setattr("infra.feed_source.Consumer", consumer)

    async def run() -> None:
        hub, stop = FeedHub(Telemetry(), time.time_ns, epoch=LOG), threading.Event()
        listener = Listener(hub)
        await listener.subscribe(channel)
        running = asyncio.create_task(hub.run())
        source = FeedSource(Kafka(), hub, [topic], {channel}, read, lambda: 0)
        reading = asyncio.create_task(asyncio.to_thread(source.run, stop))
        try:
            heard = await listener.hear(4)
        finally:
            stop.set()
            await reading
            running.cancel()
        assert [(m["seq"], m.get("prev", m["seq"] - 1)) for m in heard] == links

    asyncio.run(run())
    assert {config["auto.offset.reset"] for config in configs} == {"error"}


def test_every_channel_that_reads_a_topic_is_forgotten_with_it() -> None:
    found = sources(Kafka(), FeedHub(Telemetry(), time.time_ns, epoch=LOG), lambda: 0, lambda: LOG)
    for source in found:
        assert set(source.channels) == {name for name, channel in CHANNELS.items() if channel.topic in source.topics}
