"""Kafka: how clients reach it, its topics, and where a key goes."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from confluent_kafka import (
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka.admin import AdminClient, NewTopic

from infra.settings import Kafka
from schemas.errors import BackendError, LogError
from schemas.topics import EVENTS, TOPICS, Topic

ANSWER_S: Final = 15
SURPLUS_S: Final = 5
"""What is waited longer than a request may take, so that the client's own words about it arrive."""
CLIENT: Final[Mapping[str, Any]] = {"socket.keepalive.enable": True, "log_level": 3}


def client_config(kafka: Kafka) -> dict[str, Any]:
    """What every client needs to reach the cluster."""
    config: dict[str, Any] = {
        **CLIENT,
        "bootstrap.servers": kafka.bootstrap,
        "security.protocol": kafka.security_protocol,
    }
    if kafka.sasl_mechanism:
        config |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.username,
            "sasl.password": kafka.password.get_secret_value(),
        }
    if kafka.ca_file:
        config["ssl.ca.location"] = kafka.ca_file
    return config


def partition_of(key: str, partitions: int) -> int:
    """Where every Kafka client with the murmur2 partitioner puts the key (Java's default, aiokafka's too)."""
    return (_murmur2(key.encode()) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=65_536)
def partition_of_symbol(symbol: str, partitions: int) -> int:
    """The same, remembered: symbols come again, other keys (a news item, a source of dead letters) hardly do."""
    return partition_of(symbol, partitions)


def _murmur2(raw: bytes) -> int:
    """org.apache.kafka.common.utils.Utils.murmur2, unsigned."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(raw)
    whole = len(raw) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(raw[i : i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
    rest = raw[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def create_topics(kafka: Kafka) -> list[str]:
    """Make the topics that are missing; the names of those made. `LogError` where one has another partition count."""
    admin = AdminClient(client_config(kafka))
    try:
        there = admin.list_topics(timeout=ANSWER_S).topics
    except KafkaException as error:
        raise BackendError(
            f"Kafka at {kafka.bootstrap} did not answer within {ANSWER_S} s: {error.args[0].str()}; is it running there?"
        ) from error
    for topic in TOPICS:
        if topic.name in there and len(there[topic.name].partitions) != kafka.partitions:
            raise LogError(
                f"topic {topic.name}: expected {kafka.partitions} partitions, found {len(there[topic.name].partitions)}; "
                "set TICKWIRE_KAFKA__PARTITIONS to what the topic has: growing it would split the order of a symbol"
            )
    missing = [topic for topic in TOPICS if topic.name not in there]
    wanted = [NewTopic(t.name, kafka.partitions, kafka.replication, config=_topic_config(t, kafka)) for t in missing]
    for name, made in (admin.create_topics(wanted) if wanted else {}).items():
        try:
            made.result(ANSWER_S)
        except TimeoutError as error:
            raise BackendError(f"topic {name} could not be made: no answer within {ANSWER_S} s") from error
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise LogError(f"topic {name} could not be made: {error.args[0].str()}") from error
    return [topic.name for topic in missing]


def _topic_config(topic: Topic[Any], kafka: Kafka) -> dict[str, str]:
    config = {"cleanup.policy": topic.cleanup, "retention.ms": str(topic.retention_ms)}
    if kafka.retention is not None:
        share = 1 if topic is EVENTS else 6
        config["retention.ms"] = str(round(kafka.retention.total_seconds() * 1000 / share))
    if kafka.min_insync_replicas > 1:
        config["min.insync.replicas"] = str(kafka.min_insync_replicas)
    return config


def topic_id(kafka: Kafka, topic: str = EVENTS.name, admin: AdminClient | None = None) -> str:
    """Kafka's own id of the topic: a topic that is deleted and made again has another one.

    `LogError` where it is not there, `BackendError` where the broker does not say.
    """
    admin, deadline = admin or AdminClient(client_config(kafka)), time.monotonic() + ANSWER_S
    while True:
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S)
        try:
            return str(described[topic].result(ANSWER_S + SURPLUS_S).topic_id)
        except TimeoutError as error:
            raise BackendError(
                f"topic {topic} cannot be described: no answer within {ANSWER_S + SURPLUS_S} s"
            ) from error
        except KafkaException as error:
            fresh = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART  # brokers hear of a new topic one by one
            if not fresh:
                raise BackendError(f"topic {topic} cannot be described: {error.args[0].str()}") from error
            if time.monotonic() > deadline:
                raise LogError(f"topic {topic} cannot be described: {error.args[0].str()}") from error
            time.sleep(0.1)
