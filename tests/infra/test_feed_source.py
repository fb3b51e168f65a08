"""From Kafka into the hub: numbers of the flow, positions of the log, what was said before, and only one log's."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.feed.hub import FeedHub
from infra.feed_source import FeedSource, sources
from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka
from infra.telemetry import Telemetry
from schemas.events import Cancel, Heartbeat, Quote, Trade
from schemas.rows import Prediction
from schemas.topics import PREDICTIONS
from tests.infra.feed_listener import Listener
from tests.infra.test_feed_records import Record
from tests.services.flows import fresh_topics

LOG = "log-1"


@pytest.fixture
def kafka(embedded_kafka: str) -> Kafka:
    made = Kafka(bootstrap=embedded_kafka, partitions=2)
    fresh_topics(made)
    return made


def prediction(seq: int, symbol: str = "A", log_id: str = LOG) -> Prediction:
    return Prediction(symbol, 1, 1, log_id, 0, seq, 1.0, 0.5, "onnx", 0.5, 0.5, "9f3c", seq)


def say(kafka: Kafka, *rows: Prediction) -> None:
    writer = KafkaWriter(kafka)
    writer.send(PREDICTIONS, 0, [(row.symbol, PREDICTIONS.encode(row)) for row in rows])
    writer.flush()


@asynccontextmanager
async def api(kafka: Kafka, current: list[str]) -> AsyncIterator[tuple[FeedHub, Sequence[FeedSource]]]:
    """A hub with everything that feeds it, as in an API process."""
    hub = FeedHub(Telemetry(), time.time_ns, epoch=LOG)
    found = sources(kafka, hub, lambda: time.time_ns() // 1_000_000, lambda: current[0])
    running, stop = asyncio.create_task(hub.run()), threading.Event()
    reading = [asyncio.create_task(asyncio.to_thread(source.run, stop)) for source in found]
    try:
        yield hub, found
    finally:
        stop.set()
        await asyncio.gather(*reading)
        running.cancel()


@pytest.mark.embedded
def test_a_new_process_holds_what_was_said_before_it_and_every_process_says_the_same_numbers(kafka: Kafka) -> None:
    say(kafka, *[prediction(seq) for seq in range(5, 10)])

    async def run() -> None:
        async with api(kafka, [LOG]) as (one, _), api(kafka, [LOG]) as (other, _):
            listeners = [Listener(one), Listener(other)]
            for listener in listeners:
                await listener.subscribe("predictions", resume={"A": 6})
            await asyncio.to_thread(say, kafka, prediction(9), prediction(10))  # one of them said twice, after a crash
            told = [await listener.hear(4) for listener in listeners]
            assert [(m["seq"], m["data"]["src_offset"]) for m in told[0]] == [(n, n) for n in (7, 8, 9, 10)]
            assert told[0] == told[1]

    asyncio.run(run())


@pytest.mark.embedded
def test_the_log_is_read_only_while_somebody_wants_something_of_it(kafka: Kafka) -> None:
    where: dict[str, Any] = {"symbol": "A", "venue": "X", "ts_event": 1, "ts_ingest": 1}
    quote = Quote(**where, seq=1, bid=1.0, bid_size=1.0, ask=2.0, ask_size=1.0)
    trades = [Trade(**where, seq=n, price=1.0, size=float(n)) for n in range(1, 4)]
    writer = KafkaWriter(kafka)
    writer.write([*trades, Heartbeat(venue="X", seq=1, ts_event=1, ts_ingest=1), quote])
    writer.flush()

    async def run() -> None:
        async with api(kafka, [LOG]) as (hub, _):
            await asyncio.sleep(0.3)
            assert hub.positions("trades") == {}
            listener = Listener(hub)
            await listener.subscribe("trades")
            assert hub.positions("trades") == {"A": 3}
            assert hub.positions("quotes") == {"A": 5}
            await asyncio.to_thread(writer.write, [quote, Cancel(**where, seq=4, refers_seq=1), trades[0]])
            await asyncio.to_thread(writer.flush)
            told = await listener.hear(2)
            assert [(m["seq"], m["prev"], m["data"]["type"]) for m in told] == [(7, 3, "cancel"), (8, 7, "trade")]
            hub.leave(listener.client, "client_left")
            async with asyncio.timeout(20):
                while "trades" not in hub.filling:
                    await asyncio.sleep(0.02)
            assert hub.positions("trades") == {"A": 0}

    asyncio.run(run())


@pytest.mark.embedded
def test_what_another_log_says_is_left_out_until_it_is_the_current_one(kafka: Kafka) -> None:
    current = [LOG]

    async def run() -> None:
        async with api(kafka, current) as (hub, _):
            listener = Listener(hub)
            await listener.subscribe("predictions")
            await asyncio.to_thread(say, kafka, prediction(1), prediction(7, log_id="log-0"), prediction(2))
            assert [m["seq"] for m in await listener.hear(2)] == [1, 2]
            current[0] = "log-2"
            await asyncio.to_thread(say, kafka, prediction(1, log_id="log-2"), prediction(3))
            async with asyncio.timeout(20):
                while hub.epoch != "log-2" or not hub.positions("predictions").get("A"):
                    await asyncio.sleep(0.02)
            assert hub.positions("predictions") == {"A": 1}
            assert listener.client.outbox.closing == 1012

    asyncio.run(run())


def test_a_new_log_begins_behind_what_the_one_before_it_said_in_the_same_poll() -> None:
    rows = [prediction(seq, log_id=log) for log, seq in ((LOG, 1), (LOG, 2), ("log-2", 1), (LOG, 3), ("log-2", 2))]

    async def run() -> None:
        hub = FeedHub(Telemetry(), time.time_ns, epoch=LOG)
        flow, _ = sources(Kafka(), hub, lambda: 0, lambda: "log-2")
        hub.filled(hub.channels)
        listener = Listener(hub)
        await listener.subscribe("predictions")
        running = asyncio.create_task(hub.run())
        said = flow._topical([Record(PREDICTIONS.name, row.symbol, PREDICTIONS.encode(row)) for row in rows])
        await asyncio.to_thread(hub.publish_many, said)
        assert [m["seq"] for m in await listener.hear(2)] == [1, 2]
        async with asyncio.timeout(20):
            while hub.messages < 4:
                await asyncio.sleep(0.01)
        assert (hub.epoch, hub.positions("predictions")) == ("log-2", {"A": 2})
        assert listener.client.outbox.closing == 1012
        running.cancel()

    asyncio.run(run())
