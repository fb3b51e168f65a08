"""The API process: REST and feed over Redis, ClickHouse and our topics."""

import os
import signal
import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import redis
import structlog

from api.access.ports import Access
from api.app import create_app
from api.feed.channels import CHANNEL_OF_TOPIC
from api.feed.hub import FeedHub
from api.ports import Ports
from api.server import listen, serve
from infra.access.callers import access
from infra.clickhouse import connect
from infra.clock import WallClock
from infra.history import ClickHouseHistory
from infra.kafka_log import follow
from infra.on_demand import OnDemandModels
from infra.redis import PREFIX, LatestStore
from infra.replay_names import database_of, key_prefix, topic_of
from infra.settings import Settings
from infra.status import RedisStatus
from infra.telemetry import Telemetry

MOST = 4096
WAIT_S = 0.1


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
    hub = FeedHub(telemetry, clock.now_ns)
    ports = Ports(
        latest=LatestStore(
            url, ttl_s=settings.redis.ttl.total_seconds(), prefix=key_prefix(api.namespace) if api.namespace else PREFIX
        ),
        history=ClickHouseHistory(database, served),
        status=RedisStatus(redis.Redis.from_url(url, socket_timeout=2)),
        meter=telemetry,
        exposition=telemetry.exposition,
        now_ns=clock.now_ns,
        access=judged,
        predictor=OnDemandModels(settings.data / "models", telemetry),
    )
    app = create_app(ports, hub, version=version("tickwire"), origins=api.origins)
    stop = threading.Event()
    feeding = threading.Thread(target=_feed, args=(settings, hub, stop), daemon=True, name="feed")
    listener = listen(api.host, api.port)
    feeding.start()
    try:
        serve(app, hub, listener)
    finally:
        stop.set()
        feeding.join(timeout=3)


def _feed(settings: Settings, hub: FeedHub, stop: threading.Event) -> None:
    """Everything that our topics say from now on, into the hub. A feed that broke ends the process: it is started again."""
    name = settings.api.namespace
    channels = {topic_of(name, topic) if name else topic: channel for topic, channel in CHANNEL_OF_TOPIC.items()}
    consumer = follow(settings.kafka, list(channels))
    try:
        while not stop.is_set():
            first = consumer.poll(WAIT_S)
            if first is not None:  # consume() with a wait would wait for MOST of them
                hub.publish_many(_topical([first, *consumer.consume(MOST, 0)], channels))
    except BaseException:
        structlog.get_logger().exception("the feed broke")
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        consumer.close()


def _topical(messages: list[Any], channels: Mapping[str, str]) -> list[tuple[str, str, bytes]]:
    """(channel, symbol, JSON) of what can be handed on; the rest is told."""
    topical = []
    for message in messages:
        if message.error() is not None:
            structlog.get_logger().warning("feed", reason=message.error().str())
        elif message.key() is None or message.value() is None:
            structlog.get_logger().warning("feed", reason="a record without key or value", topic=message.topic())
        else:
            topical.append((channels[message.topic()], message.key().decode(), message.value()))
    return topical
