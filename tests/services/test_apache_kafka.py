"""The fixture is a Kafka that behaves as production's: topic ids, acknowledged writes, a quorum of replicas."""

import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.services.apache_kafka import ApacheKafka, kafka_cluster
from tests.services.processes import until

pytestmark = pytest.mark.kafka


def make_topic(bootstrap: str, partitions: int = 1, **config: str) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, config={k.replace("_", "."): v for k, v in config.items()})])[
        name
    ].result(10)
    return name


def produce(bootstrap: str, topic: str, values: list[bytes], within_ms: int = 15_000) -> list[KafkaError | None]:
    """Every value's delivery result, in no order."""
    outcomes: list[KafkaError | None] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": within_ms, "log_level": 2}
    )
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: outcomes.append(error))
    assert producer.flush(20) == 0
    return outcomes


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        messages = consumer.consume(count, timeout=10)
        return [message.value() or b"" for message in messages if message.error() is None]
    finally:
        consumer.close()


def topic_id(bootstrap: str, topic: str) -> str:
    """As the broker says, once all of it has heard of the topic."""
    admin, found = AdminClient({"bootstrap.servers": bootstrap}), []

    def described() -> bool:
        try:
            found.append(admin.describe_topics(TopicCollection([topic]))[topic].result(10).topic_id)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        return bool(found)

    until("the topic being described", described, within_s=10)
    return str(found[0])


def test_what_is_produced_is_consumed_in_order(apache_kafka: ApacheKafka) -> None:
    topic = make_topic(apache_kafka.bootstrap)
    values = [b"%d" % i for i in range(500)]
    assert produce(apache_kafka.bootstrap, topic, values) == [None] * 500
    assert consume(apache_kafka.bootstrap, topic, 500) == values


def test_a_topic_made_anew_under_the_same_name_has_another_id(apache_kafka: ApacheKafka) -> None:
    topic = make_topic(apache_kafka.bootstrap)
    before = topic_id(apache_kafka.bootstrap, topic)
    assert before == topic_id(apache_kafka.bootstrap, topic)
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    admin.delete_topics([topic])[topic].result(10)

    def made_again() -> bool:
        try:
            admin.create_topics([NewTopic(topic, 1)])[topic].result(10)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            return False  # still being deleted
        return True

    until("the topic being made again", made_again, within_s=20)
    until("its leader being known", lambda: topic in admin.list_topics(timeout=5).topics, within_s=10)
    assert topic_id(apache_kafka.bootstrap, topic) != before


def test_a_group_gets_its_partitions_at_once_and_keeps_its_committed_offset(apache_kafka: ApacheKafka) -> None:
    topic = make_topic(apache_kafka.bootstrap)
    produce(apache_kafka.bootstrap, topic, [b"a", b"b", b"c"])
    config = {"bootstrap.servers": apache_kafka.bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    first = Consumer({**config, "enable.auto.commit": False})
    first.subscribe([topic])
    assert [message.value() for message in first.consume(3, timeout=15)] == [b"a", b"b", b"c"]
    first.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    first.close()
    second = Consumer({**config, "enable.auto.commit": False})
    second.subscribe([topic])
    assert [message.value() for message in second.consume(1, timeout=15)] == [b"c"]
    second.close()


def test_three_brokers_acknowledge_with_one_down_and_refuse_with_two_down() -> None:
    with kafka_cluster(brokers=3) as cluster:
        topic = make_topic(cluster.bootstrap, min_insync_replicas="2")
        assert produce(cluster.bootstrap, topic, [b"all up"]) == [None]
        cluster.brokers[2].kill()
        assert produce(cluster.bootstrap, topic, [b"one down"]) == [None]
        assert consume(cluster.bootstrap, topic, 2) == [b"all up", b"one down"]
        cluster.brokers[1].kill()
        (error,) = produce(cluster.bootstrap, topic, [b"two down"], within_ms=4_000)
        assert error is not None
