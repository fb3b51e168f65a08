"""A log that is not the one our history was written from is refused, and the message says what to do."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from infra.clickhouse import connect
from infra.drained import Drained
from infra.embedded.services import Embedded
from infra.kafka import client_config, create_topics, topic_id
from infra.kafka_log import KafkaLog, KafkaPartitionReader
from infra.kafka_writer import KafkaWriter
from infra.log_identity import LogIdentity, current_log, read_logs, reader_of, spans, write_logs
from infra.log_records import LogRecords
from infra.log_watch import LogWatch
from infra.settings import Kafka
from schemas.errors import LogError, RecoveryError
from schemas.events import Heartbeat
from schemas.topics import EVENTS
from tests.services.apache_kafka import ApacheKafka
from tests.services.flows import fresh_topics
from tests.services.processes import until

CLOSED = LogIdentity(log_id="old", partitions=2, starts={1: 10}, ends={0: 30, 1: 20}, lost={0: 4})
OPEN = LogIdentity(log_id="new", partitions=2, starts={0: 30, 1: 20})


@pytest.fixture
def apache(apache_kafka: ApacheKafka) -> Kafka:
    """Two fresh topics' worth of partitions on a real Kafka."""
    made = Kafka(bootstrap=apache_kafka.bootstrap, partitions=2)
    fresh_topics(made)
    return made


@pytest.fixture
def records(embedded: Embedded, tmp_path: Path) -> Iterator[LogRecords]:
    database = connect(embedded.clickhouse_url)
    records = LogRecords(database, f"logs_{uuid4().hex[:8]}", tmp_path)
    records.create()
    yield records
    database.close()


def say(kafka: Kafka, beats: int) -> None:
    """A heartbeat goes into every partition."""
    writer = KafkaWriter(kafka)
    writer.write([Heartbeat(venue="X", seq=n, ts_event=n, ts_ingest=n) for n in range(beats)])
    writer.flush()


def read(reader: KafkaPartitionReader, most: int) -> list[int]:
    """Offsets until there are so many or the log has ended."""
    found: list[int] = []
    deadline = time.monotonic() + 20
    while len(found) < most and not reader.ended():
        assert time.monotonic() < deadline, f"only {len(found)} came"
        poll = reader.poll(7)
        found += poll.offsets if poll else []
    reader.close()
    return found


def test_logs_are_written_down_and_read_again(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs.json", [CLOSED, OPEN])
    assert read_logs(tmp_path / "logs.json") == [CLOSED, OPEN]
    assert read_logs(tmp_path / "none.json") == []
    assert current_log(Kafka(log_file=tmp_path / "logs.json")) == OPEN


def test_a_file_of_logs_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs.json").write_text('[{"log_id": ')
    with pytest.raises(LogError, match=r"logs.json: expected the list of logs.*take it from a backup"):
        read_logs(tmp_path / "logs.json")


def test_a_closed_log_is_finished_partition_by_partition(tmp_path: Path) -> None:
    drained = Drained(tmp_path)
    assert drained.unfinished(CLOSED, [0, 1]) == [0, 1]
    drained.mark(CLOSED, [0], {})
    assert Drained(tmp_path).unfinished(CLOSED, [0, 1]) == [1]
    empty = LogIdentity(log_id="empty", starts={0: 30, 1: 20}, ends={0: 30, 1: 20})
    assert drained.unfinished(empty, [0, 1]) == []


@pytest.mark.parametrize(
    ("start", "low", "high", "begins", "lost"),
    [
        pytest.param(12, 20, 60, 20, 8, id="a part of it has passed"),
        pytest.param(12, 40, 60, 30, 18, id="all that was left of it has passed"),
        pytest.param(12, 30, 60, 30, 18, id="to its very end"),
        pytest.param(12, 12, 60, 12, 0, id="it is all there"),
        pytest.param(30, 40, 60, 30, 0, id="it had been folded to its end"),
        pytest.param(33, 40, 60, 33, 0, id="and beyond, before the broker forgot"),
        pytest.param(None, 20, 60, 20, 20, id="nothing was ever folded"),
        pytest.param(None, 40, 60, 30, 30, id="nothing was, and it is gone"),
        pytest.param(None, 0, 60, 0, 0, id="nothing was, and it is all there"),
    ],
)
def test_the_rest_of_a_closed_log_that_has_passed_is_given_up_and_counted(
    start: int | None, low: int, high: int, begins: int, lost: int, tmp_path: Path
) -> None:
    log = replace(reader_of(Kafka(), CLOSED, [0]), gives_up=True)
    with structlog.testing.capture_logs() as said:
        assert log._reach(0, start, low, high) == (begins, 30)
    assert log.lost.get(0, 0) == lost
    assert [each["lost"] for each in said] == ([lost] if lost else [])
    drained = Drained(tmp_path)
    assert drained.lost([CLOSED]) == 0
    drained.mark(CLOSED, [0, 1], log.lost)
    assert (Drained(tmp_path).lost([CLOSED, OPEN]), drained.lost([OPEN])) == (lost, 0)
    drained.mark(CLOSED, [0, 1], log.lost, [(0, 20, 23), (1, 7, 8)])
    assert drained.lost([CLOSED]) == lost + 4, "and what a rebuild of its state went on without"
    if lost and start is not None:
        with pytest.raises(LogError, match="retention has passed"):
            reader_of(Kafka(), CLOSED, [0])._reach(0, start, low, high)


def test_a_closed_log_that_has_passed_whole_holds_nothing_and_claims_nothing_behind_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infra.log_identity.end_offsets", lambda _: {0: (40, 60), 1: (15, 60)})
    assert spans(Kafka(), CLOSED) == {0: (30, 30), 1: (15, 20)}
    assert spans(Kafka(), OPEN) == {0: (40, 60), 1: (20, 60)}


def test_only_stores_that_nobody_needs_are_removed(tmp_path: Path) -> None:
    step, former = "a" * 12, "b" * 12
    stores = [f"0-old-{step}", f"0-new-{step}", f"0-new-{former}", f"1-old-{step}", f"0-other-{step}", "0.json"]
    for name in stores:
        (tmp_path / name).mkdir()
    removed = Drained(tmp_path).tidy("0", [CLOSED, OPEN], step)
    assert sorted(path.name for path in removed) == [f"0-new-{former}", f"0-old-{step}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({*stores} - {f"0-new-{former}", f"0-old-{step}"})


@pytest.mark.embedded
def test_records_are_kept_in_clickhouse_and_found_by_a_new_machine(records: LogRecords, tmp_path: Path) -> None:
    first, second = replace_ns(CLOSED, 1), replace_ns(OPEN, 2)
    records.keep([replace_end(first), second])
    records.keep([first, second])
    (tmp_path / "logs.json").unlink()
    assert records.newest() == second
    records.keep([replace_ns(LogIdentity(log_id="newer", partitions=2), 3)])
    newest = records.newest()
    assert newest is not None
    assert newest.log_id == "newer"


def replace_ns(log: LogIdentity, opened: int) -> LogIdentity:
    return LogIdentity(**{name: getattr(log, name) for name in log.__struct_fields__} | {"opened_ns": opened})


def replace_end(log: LogIdentity) -> LogIdentity:
    return LogIdentity(**{name: getattr(log, name) for name in log.__struct_fields__} | {"ends": None, "lost": {}})


@pytest.mark.embedded
def test_a_topic_that_was_made_anew_is_refused_until_it_is_adopted(apache: Kafka, records: LogRecords) -> None:
    before = current_log(apache)
    records.confirm(before)
    records.confirm(before)
    fresh_topics(apache)
    now = current_log(apache)
    with pytest.raises(LogError, match=f"made anew: .*{before.log_id}.*{now.log_id}.*tickwire rebuild --new-log"):
        records.confirm(now)
    records.adopt(now, "the test says so")
    records.confirm(now)
    with pytest.raises(LogError, match="made anew"):
        records.confirm(before)


@pytest.mark.embedded
def test_more_partitions_are_refused_whatever_the_settings_say(apache: Kafka, records: LogRecords) -> None:
    records.confirm(current_log(apache))
    admin = AdminClient(client_config(apache))
    admin.create_partitions([NewPartitions(EVENTS.name, 3)])[EVENTS.name].result(15)
    until("three partitions being known", lambda: partitions_of(apache) == 3, within_s=15)
    with pytest.raises(LogError, match=r"expected 2 partitions, found 3; .*split the order of a symbol"):
        create_topics(apache)
    more = apache.model_copy(update={"partitions": 3})
    with pytest.raises(LogError, match=r"has 3 partitions, our history was written from 2.*rebuild --new-log"):
        records.confirm(current_log(more))


def partitions_of(kafka: Kafka) -> int:
    return len(AdminClient(client_config(kafka)).list_topics(timeout=10).topics[EVENTS.name].partitions)


@pytest.mark.embedded
def test_fewer_partitions_are_refused(embedded_kafka: str) -> None:
    kafka = Kafka(bootstrap=embedded_kafka, partitions=2)
    fresh_topics(kafka)
    with pytest.raises(LogError, match="expected 4 partitions, found 2"):
        create_topics(kafka.model_copy(update={"partitions": 4}))


@pytest.mark.embedded
def test_a_topic_made_anew_under_a_running_reader_is_noticed(apache: Kafka) -> None:
    stopped: list[bool] = []
    with LogWatch(apache, current_log(apache), lambda: stopped.append(True)) as watch:
        assert watch.look()
        fresh_topics(apache)
        until("the watch noticing", lambda: bool(stopped), within_s=30)
        with pytest.raises(LogError, match="made anew while it was read"):
            watch.complain()


@pytest.mark.embedded
@pytest.mark.parametrize("way", ["apache", "embedded"])
def test_an_end_that_is_gone_is_refused_with_numbers(way: str, request: pytest.FixtureRequest) -> None:
    if way == "apache":
        kafka: Kafka = request.getfixturevalue("apache")
    else:
        kafka = Kafka(bootstrap=request.getfixturevalue("embedded_kafka"), partitions=2)
        fresh_topics(kafka)
    say(kafka, 60)
    fresh_topics(kafka)
    say(kafka, 40)
    log = KafkaLog(kafka, "log", [0, 1])
    with pytest.raises(
        LogError, match=r"\[0\].*lost its end: at least 20 records .*are gone.*KAFKA__LOG_ID.*rebuild --new-log"
    ):
        log.open(0, 60)
    with pytest.raises(LogError, match=r"\[1\].*at least 15 records"):
        replace(log, known={1: 55}).open(1, None)
    assert read(log.open(0, 10), 30) == list(range(10, 40))


@pytest.mark.embedded
def test_a_log_that_has_lost_its_end_is_gone_on_from_under_a_name_of_its_own(
    embedded_kafka: str, records: LogRecords
) -> None:
    kafka = Kafka(bootstrap=embedded_kafka, partitions=2, log_id="one")
    fresh_topics(kafka)
    records.confirm(current_log(kafka))
    say(kafka, 40)
    records.adopt(current_log(kafka), "which keeps the id, and so what was read under it")
    with pytest.raises(LogError, match=r"lost its end.*TICKWIRE_KAFKA__LOG_ID to a new one"):
        reader_of(kafka, current_log(kafka), [0], {0: 60}).open(0, 60)
    named = kafka.model_copy(update={"log_id": "two"})
    with pytest.raises(LogError, match=r"from log one, the broker has two.*tickwire rebuild --new-log"):
        records.confirm(current_log(named))
    records.adopt(current_log(named), "rebuild --new-log")
    records.confirm(current_log(named))
    known = records.reached(["trades"], current_log(named), range(2))
    assert read(reader_of(named, current_log(named), [0], known).open(0, None), 40) == list(range(40))
    with pytest.raises(LogError, match="from log two"):
        records.confirm(current_log(kafka))


@pytest.mark.embedded
def test_what_retention_has_passed_is_refused_and_not_jumped_over(apache: Kafka) -> None:
    say(apache, 50)
    admin, gone = AdminClient(client_config(apache)), TopicPartition(EVENTS.name, 0, 30)
    admin.delete_records([gone])[gone].result(15)
    log = KafkaLog(apache, topic_id(apache), [0])
    until("the records being gone", lambda: spans(apache, current_log(apache))[0] == (30, 50), within_s=15)
    with pytest.raises(LogError, match=r"expected offset 12 .*retention has passed 18 records .*tickwire rebuild"):
        log.open(0, 12)
    for known in (20, 45):  # a group that takes partitions of another one over has no state of them either
        with pytest.raises(RecoveryError, match=rf"none of this partition.*below offset {known}.*tickwire rebuild"):
            replace(log, known={0: known}).open(0, None)
    assert read(log.open(0, None), 20) == list(range(30, 50)), "nothing was folded yet: it begins where the topic does"


@pytest.mark.parametrize(
    ("offset", "held", "low"),
    [(40, {}, 0), (40, {0: 39}, 0), (40, {0: 10}, 0), (41, {0: 10}, 40), (40, {0: 39}, 40)],
)
def test_state_that_is_ahead_of_clickhouse_is_refused(offset: int, held: dict[int, int], low: int) -> None:
    log = KafkaLog(Kafka(), "log", [0], held=held)
    with pytest.raises(
        RecoveryError,
        match=rf"\[0\].*every record below offset {offset}.*below {held.get(0, 0)} only.*tickwire rebuild",
    ):
        log._reach(0, offset, low, 60)


@pytest.mark.parametrize(
    ("offset", "held", "low"),
    [
        pytest.param(None, {}, 0, id="a first start"),
        pytest.param(40, {}, 40, id="state of a log of which nothing has been read"),
        pytest.param(40, {0: 40}, 0, id="every record has its row"),
        pytest.param(40, {0: 45}, 0, id="rows are stored before the state is"),
        pytest.param(40, None, 0, id="a rebuild"),
    ],
)
def test_state_that_clickhouse_has_the_rows_of_is_gone_on_from(
    offset: int | None, held: dict[int, int] | None, low: int
) -> None:
    assert KafkaLog(Kafka(), "log", [0], held=held)._reach(0, offset, low, 60) == (offset or 0, None)
    later = KafkaLog(Kafka(), "log", [0], starts={0: 40}, held={})
    assert later._reach(0, 40, 0, 60) == (40, None), "a log that begins within the topic"


@pytest.mark.embedded
def test_a_closed_log_is_read_to_its_end_and_the_next_from_there(apache: Kafka) -> None:
    say(apache, 50)
    closed = LogIdentity(log_id="old", starts={0: 5}, ends={0: 33, 1: 0})
    fresh = LogIdentity(log_id="new", starts={0: 33})
    assert spans(apache, closed) == {0: (5, 33), 1: (0, 0)}
    assert spans(apache, fresh) == {0: (33, 50), 1: (0, 50)}
    assert read(reader_of(apache, closed).open(0, None), 1_000) == list(range(5, 33))
    assert read(reader_of(apache, closed).open(0, 20), 1_000) == list(range(20, 33))
    assert read(reader_of(apache, closed).open(0, 41), 1_000) == [], "what was folded behind its end is gone"
    assert read(reader_of(apache, fresh).open(0, None), 17) == list(range(33, 50))
