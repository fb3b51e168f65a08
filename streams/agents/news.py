"""News items in, one signal per symbol out: a Faust worker at the slow edge of the system.

What a redelivered item makes has the same identity as the first time, so the fold drops it. Whatever cannot be read goes
to the dead letters; an item counts as read only when everything made of it was acknowledged by the broker.
"""

import asyncio
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import faust
from faust.auth import Credentials

from models.sentiment import Sentiment
from schemas.errors import SchemaError
from schemas.events import NewsItem, NewsSignal
from schemas.rows import DeadLetter
from schemas.topics import DEAD_LETTERS, EVENTS, NEWS, PARTITIONS
from streams.agents.worker import RAW, dead_letter, worker_app
from streams.ports import Clock, Meter

CASHTAG: Final = re.compile(
    r"(?<![\w$])\$([A-Za-z][A-Za-z0-9]{0,9})"
    r"(?>((?:(?:\.[A-Za-z]{1,2}|-[A-Za-z]{1,5}|_[Ff])(?!\w))?))"  # a class of shares, a pair's other currency, a future
    r"(?![\w$]|\.\w\b|…\s*\Z)"  # no abbreviation, and not cut off at the end of the text
)
IN_FLIGHT: Final = 200
"""Items whose signals the broker has not acknowledged yet; more wait."""


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

    >>> cashtags("$aapl and $BRK.B up, $100 bet, US$5, $AAPL-led rally")
    ('AAPL', 'BRK.B')
    """
    found = (base + suffix if suffix.isupper() == base.isupper() else base for base, suffix in CASHTAG.findall(title))
    return tuple(dict.fromkeys(map(str.upper, found)))


def identity(item: NewsItem) -> int:
    """A number for the item that any process reaches: 63 bits of a hash of source and id."""
    name = f"{item.source}\x00{item.item_id}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1


class NewsAgent:
    """Reads records, writes what they say, and acknowledges each when the broker has all of it."""

    def __init__(self, app: faust.App, sentiment: Sentiment, clock: Clock, meter: Meter) -> None:
        self._app, self._sentiment, self._clock, self._meter = app, sentiment, clock, meter
        self.items = app.topic(NEWS.name, **RAW)
        self._events = app.topic(EVENTS.name, **RAW)
        self._letters = app.topic(DEAD_LETTERS.name, **RAW)
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
            letter = dead_letter(NEWS.name, raw, error, partition, offset, now)
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
    member   name of this worker in its group, one for each that runs
    credentials  how to reach brokers that want TLS or a login

    Topics must exist. `concurrency` stays 1: with more, Faust commits offsets past records in work.
    """
    app = worker_app(brokers, datadir, group, member, partitions, credentials)
    agent = NewsAgent(app, sentiment, clock, meter)
    app.agent(agent.items, name="news", concurrency=1)(agent.read)
    return app
