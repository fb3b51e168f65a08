"""Delivers what the outbox holds: each endpoint at its own pace, so that a slow one delays no other."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from infra.failpoints import hit
from infra.hooks.channel import Answer, Channel, Letter, failed
from infra.hooks.endpoints import Endpoints
from infra.hooks.outbox import Due, Outbox
from infra.hooks.retries import NS, Breaker, due_after
from infra.hooks.writes import Writes
from schemas.hooks import Endpoint
from streams.ports import Clock, Meter

LOOK_EVERY_S: Final = 0.25
"""How soon a retry that is due, or what another process wrote, is noticed; new alerts wake us at once."""
DRAIN_S: Final = 2.0
"""What is under way when we are told to stop may take so much longer."""
TELL_EVERY_S: Final = 5.0
PRUNE_EVERY_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """When to try again, and when to give an endpoint up."""

    schedule_s: Sequence[float]
    """Pauses after the first attempt, the second and so on."""
    disable_after: timedelta
    """Of failures without one success."""


@dataclass(slots=True)
class Lane:
    """One endpoint's attempts that are under way, and its breaker."""

    breaker: Breaker = field(default_factory=Breaker)
    busy: set[int] = field(default_factory=set)


class DeliveryWorker:
    """The loop. One process at a time may run it on an outbox; others may write to the outbox meanwhile."""

    def __init__(
        self, outbox: Outbox, endpoints: Endpoints, writes: Writes, channels: Mapping[str, Channel], clock: Clock,
        meter: Meter, policy: Policy,
    ) -> None:  # fmt: skip
        self._outbox, self._endpoints, self._writes, self._channels = outbox, endpoints, writes, channels
        self._clock, self._meter, self._policy = clock, meter, policy
        self._lanes: dict[str, Lane] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled; attempts that do not end soon are then abandoned, and made again by the next process.

        Raises what broke the outbox.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep())
                try:
                    await self._start_what_is_due(tasks)
                finally:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(DRAIN_S):
                            await self._idle()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _idle(self) -> None:
        while any(lane.busy for lane in self._lanes.values()):
            await asyncio.sleep(0.01)

    async def _start_what_is_due(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            await self._look(tasks)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):  # wait_for would swallow a cancellation that meets a wake-up
                    await self._wake.wait()

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        endpoints = await self._writes.read(self._endpoints.all)
        for gone in self._lanes.keys() - {endpoint.id for endpoint in endpoints}:
            if not self._lanes[gone].busy:
                del self._lanes[gone]
        for endpoint in endpoints:
            if not endpoint.disabled:
                await self._start(tasks, endpoint, self._lanes.setdefault(endpoint.id, Lane()))

    async def _start(self, tasks: asyncio.TaskGroup, endpoint: Endpoint, lane: Lane) -> None:
        now, busy = self._clock.now_ns(), tuple(lane.busy)
        room = lane.breaker.room(now, endpoint.concurrency) - len(busy)
        if room <= 0:
            return
        for due in await self._writes.read(lambda: self._outbox.due(endpoint.id, now, room, busy)):
            lane.busy.add(due.id)
            tasks.create_task(self._deliver(endpoint, lane, due))

    async def _deliver(self, endpoint: Endpoint, lane: Lane, due: Due) -> None:
        try:
            at = self._clock.now_ns()
            keys = await self._writes.read(lambda: self._endpoints.keys(endpoint.id, at))
            if keys:  # else it was removed meanwhile
                await self._attempt(endpoint, lane, due, keys)
        finally:
            lane.busy.discard(due.id)
            self.wake()

    async def _attempt(self, endpoint: Endpoint, lane: Lane, due: Due, keys: Sequence[str]) -> None:
        at = self._clock.now_ns()
        hit("hooks.before_send")
        answer = await self._send(endpoint.channel, Letter(endpoint.target, due.message, keys, at))
        hit("hooks.after_send")
        over = self._clock.now_ns()
        lane.breaker.saw(success=answer.outcome == "sent", now_ns=over)
        state = await self._writes.commit(lambda: self._record(endpoint, due, answer, at, over))
        hit("hooks.after_record")
        self._tell(endpoint, due, answer, state, over)

    async def _send(self, name: str, letter: Letter) -> Answer:
        """The answer, in words that can be written down whatever bytes the receiver said."""
        channel = self._channels.get(name)
        if channel is None:
            return failed(f"the channel {name} is not set up here: see TICKWIRE_HOOKS__… in `tickwire settings`")
        try:
            answer = await channel.send(letter)
        except Exception as error:  # what a channel does not foresee is one attempt's failure, and no other endpoint's
            answer = failed(f"{type(error).__name__}: {error}")
        return replace(answer, detail=answer.detail.encode("utf-8", "replace").decode())

    def _record(self, endpoint: Endpoint, due: Due, answer: Answer, at: int, over: int) -> str:
        """Inside the commit: the attempt, and what follows from it."""
        again = None
        if answer.outcome in ("failed", "refused"):
            again = due_after(due.tries + 1, over, due.message.id, self._policy.schedule_s, answer.retry_after_s)
        state = self._outbox.record(due, answer, at, (over - at) / NS, again)
        self._outbox.saw(endpoint.id, at, success=answer.outcome == "sent")
        why = self._why_disabled(endpoint, answer, over)
        if why:
            self._outbox.disable(endpoint.id, why, over)
            self._meter.count("tickwire_hooks_disabled_total")
            structlog.get_logger().error("endpoint disabled", endpoint=endpoint.id, why=why)
        return state

    def _why_disabled(self, endpoint: Endpoint, answer: Answer, now_ns: int) -> str:
        if answer.outcome == "gone":
            return "it answered 410 Gone"
        since, most = endpoint.failing_since, self._policy.disable_after
        if answer.outcome != "sent" and since is not None and now_ns - since > most.total_seconds() * NS:
            return f"nothing arrived for {most}"
        return ""

    def _tell(self, endpoint: Endpoint, due: Due, answer: Answer, state: str, over: int) -> None:
        self._meter.count("tickwire_hooks_attempts_total", channel=endpoint.channel, outcome=answer.outcome)
        if state == "dead":
            self._meter.count("tickwire_hooks_dead_total", channel=endpoint.channel)
        if answer.outcome == "sent":
            if due.tries == 0 and not due.replayed:
                self._meter.observe("tickwire_hooks_alert_to_sent_seconds", (over - due.said) / NS)
            return
        structlog.get_logger().warning(
            "not delivered", endpoint=endpoint.id, message=due.message.id, attempt=due.tries + 1, status=answer.status,
            why=answer.detail[:200], state=state,
        )  # fmt: skip

    async def _keep(self) -> None:
        """Gauges, and forgetting what is long over."""
        pruned = 0
        while True:
            now = self._clock.now_ns()
            if now - pruned > PRUNE_EVERY_S * NS:
                await self._writes.commit(partial(self._outbox.prune, now))
                pruned = now
            count, oldest = await self._writes.read(self._outbox.waiting)
            self._meter.gauge("tickwire_hooks_waiting", count)
            self._meter.gauge("tickwire_hooks_oldest_seconds", 0.0 if oldest is None else (now - oldest) / NS)
            for name, lane in self._lanes.items():
                self._meter.gauge("tickwire_hooks_endpoint_up", float(not lane.breaker.is_open), endpoint=name)
            await asyncio.sleep(TELL_EVERY_S)
