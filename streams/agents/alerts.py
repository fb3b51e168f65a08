"""Alerts into the outbox: a Faust worker that counts an alert as read only when the outbox has it on disk.

What is read again is known there by its id. Nothing here waits for a receiver.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import faust
from faust.auth import Credentials

from schemas.errors import SchemaError
from schemas.rows import Alert
from schemas.topics import ALERTS, DEAD_LETTERS, PARTITIONS
from streams.agents.worker import RAW, dead_letter, worker_app
from streams.ports import Clock, Meter

IN_FLIGHT: Final = 500
"""Alerts that are not on disk yet; more wait."""


class AlertBox(Protocol):
    """Where alerts are kept until they are delivered. Putting the same alert twice must leave one."""

    async def put(self, alert: Alert, said_ns: int) -> None:
        """Return when it is on disk. `said_ns`: when it came onto the topic. Raises `BackendError`."""


class AlertAgent:
    """Reads alerts, puts them, and acknowledges each when it is on disk. Alerts that come together share a commit."""

    def __init__(self, app: faust.App, box: AlertBox, clock: Clock, meter: Meter) -> None:
        self._app, self._box, self._clock, self._meter = app, box, clock, meter
        self.alerts = app.topic(ALERTS.name, **RAW)
        self._letters = app.topic(DEAD_LETTERS.name, **RAW)
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._settling: set[asyncio.Task[None]] = set()

    async def read(self, stream: Any) -> None:
        """The agent: for ever."""
        async for event in stream.noack().events():
            await self._room.acquire()
            settling = asyncio.create_task(self._settle(stream, event))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)

    async def _settle(self, stream: Any, event: Any) -> None:
        """Acknowledge the alert when it is on disk; else stop the worker: Faust would start the agent anew, behind it."""
        try:
            await self._take(event.value or b"", event.message)
            await stream.ack(event)
        except Exception as error:
            await self._app.crash(error)
        finally:
            self._room.release()

    async def _take(self, raw: bytes, message: Any) -> None:
        try:
            alert = ALERTS.decode(raw)
        except SchemaError as error:
            await self._reject(raw, error, message)
            return
        await self._box.put(alert, round(message.timestamp * 1e9))
        self._meter.count("tickwire_alerts_read_total")

    async def _reject(self, raw: bytes, error: SchemaError, message: Any) -> None:
        now = self._clock.now_ns()
        letter = dead_letter(ALERTS.name, raw, error, message.partition, message.offset, now)
        sent = await self._letters.send(
            key=DEAD_LETTERS.key(letter).encode(), value=DEAD_LETTERS.encode(letter), headers=DEAD_LETTERS.headers
        )
        await sent
        self._meter.count("tickwire_alerts_rejected_total")


def build_app(  # noqa: PLR0913 - what a worker is made of
    brokers: Sequence[str], datadir: Path, box: AlertBox, clock: Clock, meter: Meter,
    *, group: str = "tickwire-alerts", member: str = "0", partitions: int = PARTITIONS,
    credentials: Credentials | None = None,
) -> faust.App:  # fmt: skip
    """The worker, not started; arguments and limits as of `streams.agents.news.build_app`."""
    app = worker_app(brokers, datadir, group, member, partitions, credentials)
    agent = AlertAgent(app, box, clock, meter)
    app.agent(agent.alerts, name="alerts", concurrency=1)(agent.read)
    return app
