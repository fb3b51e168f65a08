"""The API process: REST and feed over Redis, ClickHouse and our topics."""

import os
import signal
import threading
from collections.abc import Sequence
from importlib.metadata import version

import redis
import structlog

from api.access.ports import Access
from api.app import create_app
from api.feed.channels import CHANNEL_OF_TOPIC, CHANNELS
from api.feed.hub import FeedHub
from api.ports import Ports
from api.server import listen, serve
from infra.access.callers import access
from infra.alert_rules import LiveRules, StoredAlerts
from infra.allocator import settled
from infra.clickhouse import connect
from infra.clock import WallClock
from infra.feed_source import FeedSource, replay_source, sources
from infra.history import ClickHouseHistory
from infra.hooks.desk import Desk
from infra.log_identity import current_log
from infra.models.desk import LiveModels
from infra.models.on_demand import OnDemandModels
from infra.models.scoring_now import ScoringNow
from infra.once import RedisOnce
from infra.redis import PREFIX, LatestStore
from infra.replay.names import database_of, key_prefix, topic_of
from infra.settings import Settings
from infra.sql.access import sql_access
from infra.status import RedisStatus
from infra.telemetry import Telemetry
from schemas.errors import BackendError, LogError

REPLAYED = ("predictions", "bars", "outcomes", "features")
"""Channels of which a replay has something to say."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    telemetry = Telemetry()
    with access(settings, telemetry) as judged:
        _serve(settings, telemetry, judged)


def _serve(settings: Settings, telemetry: Telemetry, judged: Access) -> None:
    api, clock = settings.api, WallClock()
    url = settings.redis.url.get_secret_value()
    clickhouse = settings.clickhouse
    database = connect(clickhouse.url.get_secret_value(), timeout_s=clickhouse.timeout.total_seconds())
    served = database_of(clickhouse.database, api.namespace) if api.namespace else clickhouse.database
    channels = {name: CHANNELS[name] for name in REPLAYED} if api.namespace else CHANNELS
    hub = FeedHub(telemetry, clock.now_ns, channels=channels, epoch="" if api.namespace else _epoch(settings))
    status = RedisStatus(redis.Redis.from_url(url, socket_timeout=2))
    desk = LiveModels(settings, database, status)
    ports = Ports(
        latest=LatestStore(
            url, ttl_s=settings.redis.ttl.total_seconds(), prefix=key_prefix(api.namespace) if api.namespace else PREFIX
        ),
        history=ClickHouseHistory(database, served),
        status=status,
        meter=telemetry,
        exposition=telemetry.exposition,
        now_ns=clock.now_ns,
        access=judged,
        models=None if api.namespace else desk,
        once=RedisOnce(redis.Redis.from_url(url, socket_timeout=2)),
        predictor=OnDemandModels(settings.data / "models", telemetry, ScoringNow(desk.scoring)),
        rules=None if api.namespace else LiveRules(settings, database),
        alerts=StoredAlerts(database, served),
        sql=sql_access(settings.sql, served),
        hooks=Desk(settings.data, settings.hooks, clock),
    )
    app = create_app(ports, hub, version=version("tickwire"), origins=api.origins)
    settled()
    stop = threading.Event()
    listener = listen(api.host, api.port)
    feeding = [
        threading.Thread(target=_feed, args=(source, stop), daemon=True, name="feed")
        for source in _sources(settings, hub, clock)
    ]
    for each in feeding:
        each.start()
    try:
        serve(app, hub, listener)
    finally:
        stop.set()
        for each in feeding:
            each.join(timeout=3)


def _epoch(settings: Settings) -> str:
    """The log whose numbers the feed shows; none where it can't be told yet: then its first message tells."""
    try:
        return current_log(settings.kafka).log_id
    except (LogError, BackendError) as error:
        structlog.get_logger().warning("the feed's epoch begins with its first message", reason=str(error))
        return ""


def _sources(settings: Settings, hub: FeedHub, clock: WallClock) -> Sequence[FeedSource]:
    """What goes into the hub: the live topics, or those of a replay."""

    def now_ms() -> int:
        return clock.now_ns() // 1_000_000

    name = settings.api.namespace
    if not name:
        return sources(settings.kafka, hub, now_ms, lambda: current_log(settings.kafka).log_id)
    topics = {topic_of(name, topic): channel for topic, channel in CHANNEL_OF_TOPIC.items() if channel in hub.channels}
    return [replay_source(settings.kafka, hub, now_ms, topics)]


def _feed(source: FeedSource, stop: threading.Event) -> None:
    """A feed that broke ends the process: it is started again."""
    try:
        source.run(stop)
    except BaseException:
        structlog.get_logger().exception("the feed broke")
        os.kill(os.getpid(), signal.SIGTERM)
        raise
