"""The stretch of the log that belongs to a session, by the broker's time, on embedded services."""

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.clickhouse import Database, connect
from infra.embedded.services import Embedded
from infra.kafka import client_config
from infra.kafka_log import KafkaLog
from infra.kafka_writer import KafkaWriter
from infra.log_identity import LogIdentity
from infra.session_log import SessionLog, offsets_at, session_log, stored_offset
from infra.settings import Kafka, Settings
from processors.features import FEATURE_NAMES
from schemas.errors import BackendError
from schemas.events import Heartbeat
from schemas.tables import tables
from schemas.topics import EVENTS
from tests.services.flows import fresh_topics

NS_PER_MS = 1_000_000
BEATS = 4
pytestmark = pytest.mark.embedded


@pytest.fixture
def kafka(embedded: Embedded) -> Kafka:
    made = Kafka(bootstrap=embedded.kafka, partitions=2)
    fresh_topics(made)
    return made


def say(kafka: Kafka, batches: int) -> None:
    """So many times `BEATS` records in every partition; the broker's clock moves on in between."""
    writer = KafkaWriter(kafka)
    for batch in range(batches):
        writer.write([Heartbeat(venue="X", seq=batch * BEATS + n, ts_event=n, ts_ingest=n) for n in range(BEATS)])
        writer.flush()
        time.sleep(0.02)


def forget(kafka: Kafka, partition: int) -> None:
    """What retention does: the first six records of a partition are gone."""
    admin = AdminClient(client_config(kafka))  # without a name it would end before it has answered
    for future in admin.delete_records([TopicPartition(EVENTS.name, partition, 6)]).values():
        future.result(20)


def broker_ms(kafka: Kafka, partition: int) -> list[int]:
    """The broker's time of every record of a partition, read one by one: the oracle."""
    reader = KafkaLog(kafka, "any", [partition]).open(partition, 0)
    found: list[int] = []
    deadline = time.monotonic() + 20
    while reader.lag() or not found:
        assert time.monotonic() < deadline
        poll = reader.poll(100)
        found += poll.ts_broker if poll else []
    reader.close()
    return found


def nothing_older(_partition: int, _at_ms: int, _below: int) -> int | None:
    raise AssertionError("the topic has it all")


def expected(times: list[int], begin_ms: int, end_ms: int) -> tuple[int, int]:
    inside = [offset for offset, ms in enumerate(times) if begin_ms <= ms < end_ms]
    return inside[0], inside[-1] + 1


def test_a_stretch_holds_what_came_within_its_times_and_nothing_else(kafka: Kafka) -> None:
    say(kafka, batches=5)
    log = SessionLog(kafka, LogIdentity(log_id="log"), nothing_older)
    times = {partition: broker_ms(kafka, partition) for partition in range(2)}
    assert all(len(set(each)) > 1 for each in times.values())
    for begin_ms in sorted({ms for each in times.values() for ms in each}):
        for end_ms in (begin_ms + 1, begin_ms + 45, 4_000_000_000_000):
            found = log.spans(begin_ms * NS_PER_MS - 1, end_ms * NS_PER_MS)
            inside = {p: each for p, each in times.items() if any(begin_ms <= ms < end_ms for ms in each)}
            assert found == {p: expected(each, begin_ms, end_ms) for p, each in inside.items()}


def test_a_stretch_without_records_is_empty(kafka: Kafka) -> None:
    say(kafka, batches=1)
    log = SessionLog(kafka, LogIdentity(log_id="log"), nothing_older)
    assert log.spans(0, 1_000 * NS_PER_MS) == {}
    assert log.spans(4_000_000_000_000 * NS_PER_MS, 4_000_000_000_001 * NS_PER_MS) == {}


def test_what_another_log_holds_of_the_topic_is_left_out(kafka: Kafka) -> None:
    say(kafka, batches=2)
    log = SessionLog(kafka, LogIdentity(log_id="new", starts={0: 3, 1: 2 * BEATS}), nothing_older)
    assert log.spans(0, 4_000_000_000_000 * NS_PER_MS) == {0: (3, 2 * BEATS)}


def test_where_retention_has_passed_the_first_what_is_stored_says_where_it_was(kafka: Kafka) -> None:
    say(kafka, batches=2)
    forget(kafka, 0)
    stored = {0: 2}
    log = SessionLog(kafka, LogIdentity(log_id="log"), lambda partition, _ms, _below: stored.get(partition))
    far = 4_000_000_000_000 * NS_PER_MS
    assert log.spans(0, far) == {0: (2, 2 * BEATS), 1: (0, 2 * BEATS)}
    stored.clear()
    assert log.spans(0, far) == {0: (6, 2 * BEATS), 1: (0, 2 * BEATS)}


def test_a_broker_that_is_away_is_an_error_that_names_it() -> None:
    with pytest.raises(BackendError, match=r"Kafka at 127.0.0.1:1 did not say which offsets belong to a time"):
        offsets_at(Kafka(bootstrap="127.0.0.1:1", partitions=1), 0, answer_s=1)


@pytest.fixture
def database(embedded: Embedded) -> Iterator[Database]:
    found = connect(embedded.clickhouse_url)
    yield found
    found.close()


@pytest.fixture
def stored(database: Database) -> Iterator[str]:
    """A database with our tables; its name."""
    name = f"session_{uuid4().hex[:8]}"
    database.command(f"CREATE DATABASE `{name}`")
    for table in tables(FEATURE_NAMES):
        database.command(table.ddl(name))
    yield name
    database.command(f"DROP DATABASE `{name}`")


def store(database: Database, name: str, log_id: str, table: str, only: str) -> None:
    """Ten records of partition 1, a second apart from 1970 on, of which `only` some are in this table."""
    database.command(
        f"INSERT INTO `{name}`.`{table}` (log_id, src_partition, src_offset, ts_broker) "
        f"SELECT '{log_id}', 1, number, fromUnixTimestamp64Milli(toInt64(number * 1000), 'UTC') FROM numbers(10) WHERE {only}"
    )


def test_the_first_stored_record_of_a_time_is_found_in_any_table_of_its_log(database: Database, stored: str) -> None:
    store(database, stored, "log", "marks", "number % 2")
    store(database, stored, "log", "trades", "NOT number % 2")
    store(database, stored, "other", "quotes", "1")
    log = (stored, "log")
    assert [stored_offset(database, log, 1, ms, 10) for ms in (0, 1_000, 4_001, 9_000)] == [0, 1, 5, 9]
    assert stored_offset(database, log, 1, 9_001, 10) is None
    assert stored_offset(database, log, 1, 7_000, 7) is None  # only the topic has it
    assert stored_offset(database, log, 0, 0, 10) is None
    assert stored_offset(database, (stored, "third"), 1, 0, 10) is None


def test_the_services_together_tell_a_stretch_that_the_topic_has_lost_the_first_of(
    kafka: Kafka, embedded: Embedded, database: Database, stored: str
) -> None:
    say(kafka, batches=2)
    forget(kafka, 1)
    store(database, stored, "mine", "marks", "number < 6")
    clickhouse = {"url": embedded.clickhouse_url, "database": stored}
    settings = Settings.model_validate({"kafka": {**kafka.model_dump(), "log_id": "mine"}, "clickhouse": clickhouse})
    far = 4_000_000_000_000 * NS_PER_MS
    with session_log(settings) as log:
        assert log.log_id == "mine"
        assert log.spans(0, far) == {0: (0, 2 * BEATS), 1: (0, 2 * BEATS)}
        assert log.spans(3_000 * NS_PER_MS, far) == {0: (0, 2 * BEATS), 1: (3, 2 * BEATS)}
