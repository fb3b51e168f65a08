"""Topics `replay.NAME.…` and keys `tickwire:replay:NAME:latest:…` of a replay that speaks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from confluent_kafka.admin import AdminClient, NewTopic

from infra.kafka import ANSWER_S, client_config
from infra.kafka_writer import KafkaWriter
from infra.redis import LatestStore
from infra.replay.names import key_prefix, topic_of
from infra.settings import Kafka, Settings
from infra.telemetry import Telemetry
from schemas.errors import LogError
from schemas.topics import ALERTS, BARS, DEAD_LETTERS, OUTCOMES, PREDICTIONS, Topic
from streams.bytewax_io import LatestSink, PartitionedSink, TopicSink
from streams.messages import MessageMaker
from streams.newest import NewestRows

SAID: Final = (PREDICTIONS, OUTCOMES, BARS, ALERTS, DEAD_LETTERS)


class NamedWriter:
    """`streams.ports.MessageWriter` into the topics of one replay."""

    def __init__(self, writer: KafkaWriter, name: str) -> None:
        self._writer = writer
        self._own = {topic.name: replace(topic, name=topic_of(name, topic.name)) for topic in SAID}

    def send(self, topic: Topic[Any], partition: int, messages: Sequence[tuple[str, bytes]]) -> None:
        self._writer.send(self._own[topic.name], partition, messages)

    def flush(self) -> None:
        self._writer.flush()


def spoken_sinks(
    settings: Settings, name: str, partitions: list[int], messages: MessageMaker, telemetry: Telemetry
) -> tuple[PartitionedSink, PartitionedSink, Callable[[], None]]:
    """Sinks for topics and newest rows, and what flushes both; the topics are made anew."""
    remake_topics(settings.kafka, name)
    writer = NamedWriter(KafkaWriter(settings.kafka), name)
    store = LatestStore(
        settings.redis.url.get_secret_value(),
        ttl_s=settings.redis.ttl.total_seconds(),
        prefix=key_prefix(name),
        group=f"replay-{name}",
    )
    newest = NewestRows(store, telemetry)

    def flush() -> None:
        writer.flush()
        newest.flush()

    topics = TopicSink(partitions, writer, messages, telemetry)
    return topics, LatestSink(partitions, newest, messages, lambda _: None, telemetry), flush


def remake_topics(kafka: Kafka, name: str) -> None:
    """Empty topics of this replay. `LogError` where the broker refuses."""
    drop_topics(kafka, name)
    admin = AdminClient(client_config(kafka))
    wanted = [NewTopic(topic_of(name, topic.name), kafka.partitions, kafka.replication) for topic in SAID]
    for topic, made in admin.create_topics(wanted).items():
        if (error := made.exception(ANSWER_S)) is not None:
            raise LogError(f"topic {topic} could not be made: {error}")


def drop_topics(kafka: Kafka, name: str) -> None:
    """Throw the topics of this replay away, where there are some; returns when they are gone."""
    admin = AdminClient(client_config(kafka))
    ours = {topic_of(name, topic.name) for topic in SAID}
    there = [topic for topic in admin.list_topics(timeout=ANSWER_S).topics if topic in ours]
    for topic, gone in (admin.delete_topics(there, operation_timeout=ANSWER_S) if there else {}).items():
        if (error := gone.exception(ANSWER_S)) is not None:
            raise LogError(f"topic {topic} could not be deleted: {error}")
