"""The embedded Kafka, Redis and ClickHouse together, and what each keeps."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import clickhouse_connect
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded.broker import broker
from infra.embedded.ports import free_port
from infra.embedded.services import (
    CLICKHOUSE,
    KAFKA,
    REDIS,
    RELAY,
    Embedded,
    WantedPorts,
    embedded_services,
    start_embedded,
)
from infra.embedded.supervisor import Supervisor
from infra.embedded.watched import Watched
from tests.services.processes import until

pytestmark = pytest.mark.embedded


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "log_level": 0})
    failures: list[object] = []
    for value in values:
        producer.produce(
            topic, value, partition=0, on_delivery=lambda error, _: failures.append(error) if error else None
        )
    assert producer.flush(30) == 0
    assert failures == []


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False, "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    deadline = time.monotonic() + 30
    while len(values) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(values), 0.5):
            assert message.error() is None
            value = message.value()
            assert value is not None
            values.append(value)
    consumer.close()
    return values


def create(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        made.result(20)


def test_all_three_answer_their_own_clients(embedded: Embedded) -> None:
    create(embedded.kafka, "hello")
    produce(embedded.kafka, "hello", [b"a", b"b"])
    assert consume(embedded.kafka, "hello", 2) == [b"a", b"b"]
    with redis.Redis.from_url(embedded.redis_url) as store:
        store.set("key", "value")
        assert store.get("key") == b"value"
        assert store.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
    host, port = embedded.clickhouse_url.removeprefix("http://").split(":")
    client = clickhouse_connect.get_client(host=host, port=int(port))
    assert client.command("SELECT 1") == 1
    client.close()
    assert len(embedded.log_id) == 32


def test_they_are_ready_together_in_two_seconds(tmp_path: Path) -> None:
    took = []
    for attempt in range(3):
        begun = time.monotonic()
        with embedded_services(tmp_path / str(attempt)):
            took.append(time.monotonic() - begun)
    assert min(took) < 2.0, took


def test_a_clean_stop_keeps_the_log_its_identity_and_the_tables(tmp_path: Path) -> None:
    values = [b"%d" % number for number in range(5_000)]
    with embedded_services(tmp_path) as first:
        create(first.kafka, "kept")
        produce(first.kafka, "kept", values)
        host, port = first.clickhouse_url.removeprefix("http://").split(":")
        client = clickhouse_connect.get_client(host=host, port=int(port))
        client.command("CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        client.command("INSERT INTO kept SELECT number FROM numbers(1000)")
        client.close()
    with embedded_services(tmp_path) as second:
        assert second.log_id == first.log_id
        assert consume(second.kafka, "kept", len(values)) == values
        host, port = second.clickhouse_url.removeprefix("http://").split(":")
        client = clickhouse_connect.get_client(host=host, port=int(port))
        assert client.command("SELECT count() FROM kept") == 1000
        client.close()


def test_a_killed_service_comes_back_on_its_port(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        addresses = start_embedded(supervisor, WantedPorts(0, 0, 0))
        before = {watched.service.name: watched.pid for watched in supervisor.services()}
        assert set(before) == {KAFKA, RELAY, REDIS, CLICKHOUSE}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        for watched in supervisor.services():
            name = watched.service.name
            until(f"{name} coming back", came_back(watched, before[name]), within_s=20)
        with redis.Redis.from_url(addresses.redis_url) as store:
            assert store.ping()
        create(addresses.kafka, "again")
        produce(addresses.kafka, "again", [b"x"])


def came_back(watched: Watched, before: int) -> Callable[[], bool]:
    return lambda: watched.pid != before and watched.service.ready()


def test_only_the_parts_that_are_wanted_are_started(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        started = start_embedded(supervisor, WantedPorts(0, 0, 0), parts={REDIS})
        assert (started.kafka, started.clickhouse_url, started.log_id) == ("", "", "")
        assert [watched.service.name for watched in supervisor.services()] == [REDIS]


def test_a_taken_port_is_replaced_by_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Supervisor(tmp_path) as supervisor:
        port = taken.getsockname()[1]
        started = start_embedded(supervisor, WantedPorts(redis=port), parts={REDIS})
        assert started.redis_url != f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(started.redis_url) as store:
            assert store.ping()


def test_they_listen_on_loopback_only(embedded: Embedded) -> None:
    ports = [int(embedded.kafka.split(":")[1]), int(embedded.redis_url.split(":")[2].split("/")[0])]
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listening = {line.split()[1] for line in table.splitlines() if len(line.split()) > 3 and line.split()[3] == "0A"}
    for port in ports:
        assert {address for address in listening if address.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}


def test_the_broker_is_given_time_to_write_what_it_holds(tmp_path: Path) -> None:
    assert broker(tmp_path, free_port()).stop_after.total_seconds() >= 30
