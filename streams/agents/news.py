"""News items in, one signal per symbol out: a Faust worker at the slow edge of the system.

What a redelivered item makes has the same identity as the first time, so the fold drops it. Whatever cannot be read goes
to the dead letters; an item counts as read only when everything made of it was acknowledged by the broker.
"""

import asyncio
import re
import signal
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import faust
import msgspec
from faust.auth import Credentials

from models.sentiment import Sentiment
from schemas.errors import BackendError, SchemaError
from schemas.events import NewsItem, NewsSignal
from schemas.rows import DeadLetter
from schemas.topics import DEAD_LETTERS, EVENTS, NEWS, PARTITIONS
from streams.ports import Clock, Meter

CASHTAG: Final = re.compile(r"(?<![\w$])\$([A-Za-z][A-Za-z0-9]{0,9}(?:[.-][A-Za-z]{1,5})?)(?![\w$])")
RAW_BYTES: Final = 65_536
IN_FLIGHT: Final = 200
"""Items whose signals the broker has not acknowledged yet; more wait."""
SHUTDOWN_S: Final = 20.0


def signals(item: NewsItem, sentiment: Sentiment, ts_ingest: int) -> list[NewsSignal]:
    """What the item says about each symbol it names, by its list or else by the cashtags of its title; none names none.

    `ts_ingest`: ns. Times and numbers are the item's, so the same item makes the same signals, but for `ts_ingest`.
    """
    symbols = tuple(dict.fromkeys(item.symbols)) or cashtags(item.title)
    if not symbols:
        return []
    text = item.title or item.body
    score, words = sentiment.score(text), len(item.title.split()) + len(item.body.split())
    return [
        NewsSignal(
            symbol=symbol, venue=item.source, seq=identity(item), ts_event=item.ts_event, ts_ingest=ts_ingest,
            sentiment=score, item_id=item.item_id, words=words,
        )
        for symbol in symbols
    ]  # fmt: skip


def cashtags(title: str) -> tuple[str, ...]:
    """The symbols that a text names with a dollar sign, once each, in capitals.

    >>> cashtags("$aapl and $BRK.B up, $100 bet, US$5, $AAPL again")
    ('AAPL', 'BRK.B')
    """
    return tuple(dict.fromkeys(symbol.upper() for symbol in CASHTAG.findall(title)))


def identity(item: NewsItem) -> int:
    """A number for the item that any process reaches: 63 bits of a hash of source and id."""
    name = f"{item.source}\x00{item.item_id}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1


def dead_letter(raw: bytes, error: SchemaError, partition: int, offset: int, ts_ingest: int) -> DeadLetter:
    """The record that is no news item, with the reason."""
    wrong = isinstance(error.__cause__, msgspec.ValidationError)
    return DeadLetter(
        source=NEWS.name, partition=partition, offset=offset, reason="invalid_value" if wrong else "undecodable",
        detail=str(error)[:1_000], ts_ingest=ts_ingest, raw=raw[:RAW_BYTES],
    )  # fmt: skip


class NewsAgent:
    """Reads records, writes what they say, and acknowledges each when the broker has all of it."""

    def __init__(self, app: faust.App, sentiment: Sentiment, clock: Clock, meter: Meter) -> None:
        self._app, self._sentiment, self._clock, self._meter = app, sentiment, clock, meter
        raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
        self.items = app.topic(NEWS.name, **raw)
        self._events = app.topic(EVENTS.name, **raw)
        self._letters = app.topic(DEAD_LETTERS.name, **raw)
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._settling: set[asyncio.Task[None]] = set()

    async def read(self, stream: Any) -> None:
        """The agent: for ever. Any failure stops the whole worker: Faust would only start the agent anew, behind it."""
        try:
            async for event in stream.noack().events():
                await self._room.acquire()
                sent = await self._send(event.value or b"", event.message.partition, event.message.offset)
                settling = asyncio.create_task(self._settle(stream, event, sent))
                self._settling.add(settling)
                settling.add_done_callback(self._settling.discard)
        except Exception as error:
            await self._app.crash(error)
            raise

    async def _send(self, raw: bytes, partition: int, offset: int) -> list[asyncio.Future[Any]]:
        now = self._clock.now_ns()
        try:
            item = NEWS.decode(raw)
        except SchemaError as error:
            letter = dead_letter(raw, error, partition, offset, now)
            self._meter.count("tickwire_news_rejected_total")
            return [await self._put(self._letters, DEAD_LETTERS, letter)]
        made = signals(item, self._sentiment, now)
        self._meter.count("tickwire_news_items_total")
        self._meter.count("tickwire_news_signals_total", len(made))
        self._meter.count("tickwire_news_unnamed_total", 0 if made else 1)
        return [await self._put(self._events, EVENTS, each) for each in made]

    async def _put(self, topic: Any, declared: Any, value: NewsSignal | DeadLetter) -> asyncio.Future[Any]:
        """On its way, keyed as every producer of ours keys it; the future ends with the broker's acknowledgement."""
        future: asyncio.Future[Any] = await topic.send(
            key=declared.key(value).encode(), value=declared.encode(value), headers=declared.headers
        )
        return future

    async def _settle(self, stream: Any, event: Any, sent: Sequence[asyncio.Future[Any]]) -> None:
        """Acknowledge the item when the broker has everything made of it; stop the worker if it has not."""
        try:
            await asyncio.gather(*sent)
            await stream.ack(event)
        except Exception as error:
            await self._app.crash(error)
        finally:
            self._room.release()


def build_app(  # noqa: PLR0913 - what a worker is made of
    brokers: Sequence[str], datadir: Path, sentiment: Sentiment, clock: Clock, meter: Meter,
    *, group: str = "tickwire-news", member: str = "0", partitions: int = PARTITIONS,
    credentials: Credentials | None = None,
) -> faust.App:  # fmt: skip
    """The worker, not started.

    brokers  `host:port`     datadir  Faust's own files     group  consumer group: where reading goes on after a restart
    member   name of this worker in its group, one for each that runs: a worker that was killed takes its place again at
             once (without a name, one that is killed blocks its group on the embedded broker for ever)
    credentials  how to reach brokers that want TLS or a login

    Topics must exist. `concurrency` stays 1: with more, Faust commits offsets past records in work.
    """
    app = faust.App(
        group, broker=";".join(f"kafka://{broker}" for broker in brokers), datadir=str(datadir), store="memory://",
        autodiscover=False, web_enabled=False, topic_allow_declare=False, topic_disable_leader=True,
        topic_partitions=partitions, key_serializer="raw", value_serializer="raw",
        consumer_auto_offset_reset="earliest", broker_max_poll_records=500, broker_commit_interval=1.0,
        broker_session_timeout=30.0, broker_heartbeat_interval=3.0, consumer_group_instance_id=f"{group}-{member}",
        stream_wait_empty=True, producer_acks=-1, broker_credentials=credentials,
    )  # fmt: skip
    agent = NewsAgent(app, sentiment, clock, meter)
    app.agent(agent.items, name="news", concurrency=1)(agent.read)
    return app


def run(app: faust.App) -> None:
    """Work until SIGTERM or SIGINT; then finish what is in work, commit, and return.

    Raises: `BackendError` where the worker failed; nothing that was not acknowledged is counted as read.
    """
    asyncio.run(_serve(app))


async def _serve(app: faust.App) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    waits = [asyncio.create_task(told.wait()), asyncio.create_task(app.wait_until_stopped())]
    try:
        await app.start()
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        async with asyncio.timeout(SHUTDOWN_S):
            await app.stop()
        for wait in waits:
            wait.cancel()
    if app.crash_reason is not None:
        raise BackendError(f"the news agent stopped: {app.crash_reason!r}") from app.crash_reason
