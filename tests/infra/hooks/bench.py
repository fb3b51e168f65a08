"""A delivery worker at work on an outbox of its own, with receivers in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgspec

from infra.clock import WallClock
from infra.hooks.channel import Answer, Letter
from infra.hooks.messages import message_of
from infra.hooks.opened import HookStore, open_store
from infra.hooks.outbox import Put
from infra.hooks.worker import DeliveryWorker, Policy
from infra.hooks.writes import Writes
from infra.telemetry import Telemetry
from schemas.hooks import Delivery, Endpoint, NewEndpoint
from tests.infra.hooks.alerts import alert

SENT = Answer("sent", 200, "ok")
CLOCK = WallClock()


@dataclass
class Receivers:
    """`Channel` to receivers in this process: by target, what each answers; and what each got, and how many at once."""

    answers: dict[str, Callable[[int], Answer]] = field(default_factory=dict)
    slow_s: dict[str, float] = field(default_factory=dict)
    got: dict[str, list[str]] = field(default_factory=dict)
    most_at_once: dict[str, int] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)

    async def send(self, letter: Letter) -> Answer:
        to = letter.target
        self.got.setdefault(to, []).append(letter.message.id)
        self.inside[to] = self.inside.get(to, 0) + 1
        self.most_at_once[to] = max(self.most_at_once.get(to, 0), self.inside[to])
        try:
            await asyncio.sleep(self.slow_s.get(to, 0))
        finally:
            self.inside[to] -= 1
        return self.answers.get(to, lambda _: SENT)(len(self.got[to]))


@dataclass
class Bench:
    """A worker at work on an outbox."""

    store: HookStore
    writes: Writes
    worker: DeliveryWorker
    receivers: Receivers
    telemetry: Telemetry

    def add(self, target: str, **fields: object) -> Endpoint:
        wanted = msgspec.convert({"target": target, **fields}, NewEndpoint)
        return self.store.endpoints.add(wanted, CLOCK.now_ns())[0]

    async def put(self, *numbers: int) -> None:
        now = CLOCK.now_ns()
        puts = [Put(message_of(alert(number)), "r", now) for number in numbers]
        await self.writes.commit(lambda: self.store.outbox.put(puts, now))
        self.worker.wake()

    async def until(self, reached: Callable[[Sequence[Delivery]], bool], within_s: float = 20) -> Sequence[Delivery]:
        async with asyncio.timeout(within_s):
            while not reached(found := await self.writes.read(lambda: self.store.log.page(limit=1_000))):
                await asyncio.sleep(0.01)
        return found

    async def settled(self) -> Sequence[Delivery]:
        return await self.until(lambda found: all(each.state != "pending" for each in found))


@asynccontextmanager
async def bench(
    data: Path,
    receivers: Receivers,
    schedule_s: Sequence[float] = (0.01, 0.02),
    disable_after: timedelta = timedelta(days=5),
) -> AsyncIterator[Bench]:
    store, telemetry = open_store(data), Telemetry()
    writes = Writes(store.database)
    told = Policy(schedule_s, disable_after)
    worker = DeliveryWorker(store.outbox, store.endpoints, writes, {"webhook": receivers}, CLOCK, telemetry, told)
    running = asyncio.create_task(worker.run())
    try:
        yield Bench(store, writes, worker, receivers, telemetry)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.database.close()
