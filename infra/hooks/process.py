"""The delivery process: alerts from their topic into the outbox, and from there to the endpoints."""

from infra.access.faust_login import faust_credentials
from infra.awaited import await_kafka
from infra.clock import WallClock
from infra.failpoints import hit
from infra.hooks.messages import message_of
from infra.hooks.opened import HookStore, channels, directory, open_store
from infra.hooks.outbox import Outbox, Put
from infra.hooks.worker import DeliveryWorker, Policy
from infra.hooks.writes import Writes
from infra.kafka import create_topics
from infra.locks import locked
from infra.settings import Settings
from infra.telemetry import Telemetry, serve_metrics
from schemas.rows import Alert
from schemas.topics import ALERTS
from streams.agents.alerts import build_app
from streams.agents.worker import run as run_agent


class OutboxBox:
    """`streams.agents.alerts.AlertBox`: the outbox, and word to the worker when there is something new."""

    def __init__(self, outbox: Outbox, writes: Writes, worker: DeliveryWorker, clock: WallClock) -> None:
        self._outbox, self._writes, self._worker, self._clock = outbox, writes, worker, clock

    async def put(self, alert: Alert, said_ns: int) -> None:
        put = Put(message_of(alert), alert.rule, said_ns)
        hit("alerts.before_put")
        new = await self._writes.commit(lambda: self._outbox.put([put], self._clock.now_ns()))
        hit("alerts.after_put")
        if new:
            self._worker.wake()


def run(settings: Settings, metrics_port: int = 0) -> None:
    """Work until SIGTERM or SIGINT. `WriterHeld` where another process delivers from this outbox."""
    telemetry = Telemetry()
    with locked(directory(settings.data), ALERTS.name, (), "alerts"):
        if metrics_port:
            serve_metrics(telemetry, metrics_port)
        await_kafka(settings)
        create_topics(settings.kafka)
        store = open_store(settings.data)
        try:
            _deliver(settings, store, telemetry)
        finally:
            store.database.close()


def _deliver(settings: Settings, store: HookStore, telemetry: Telemetry) -> None:
    clock, writes = WallClock(), Writes(store.database)
    policy = Policy([pause.total_seconds() for pause in settings.hooks.retries], settings.hooks.disable_after)
    worker = DeliveryWorker(store.outbox, store.endpoints, writes, channels(settings.hooks), clock, telemetry, policy)
    app = build_app(
        settings.kafka.bootstrap.split(","), settings.data / "faust-alerts",
        OutboxBox(store.outbox, writes, worker, clock), clock, telemetry, partitions=settings.kafka.partitions,
        credentials=faust_credentials(settings.kafka),
    )  # fmt: skip
    run_agent(app, worker.run)
