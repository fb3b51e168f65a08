"""The stretch of the events log that the broker got within two times, also where its retention has passed the first."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.awaited import await_kafka
from infra.clickhouse import Database, connect
from infra.kafka import ANSWER_S, client_config
from infra.kafka_log import READER
from infra.log_identity import LogIdentity, current_log, spans
from infra.settings import Kafka, Settings
from schemas.errors import BackendError
from schemas.topics import EVENTS
from streams.archive import ARCHIVE

NS_PER_MS: Final = 1_000_000
Older = Callable[[int, int, int], int | None]
"""(partition, milliseconds, offset below which to look) to the first stored offset that came then or later; None without."""


@dataclass(frozen=True, slots=True)
class SessionLog:
    """One log and what is stored of it."""

    kafka: Kafka
    log: LogIdentity
    older: Older

    @property
    def log_id(self) -> str:
        """Offsets mean something only together with it."""
        return self.log.log_id

    def spans(self, begin_ns: int, end_ns: int) -> dict[int, tuple[int, int]]:
        """Partition to (first offset, next offset) of what came from `begin_ns` on and before `end_ns`, broker's clock.

        Partitions that got nothing are left out. `BackendError` where the broker or ClickHouse does not answer.
        """
        held = spans(self.kafka, self.log)
        firsts, ends = self.at(held, begin_ns), self.at(held, end_ns)
        return {p: (firsts[p], ends[p]) for p in sorted(held) if firsts[p] < ends[p]}

    def at(self, held: Mapping[int, tuple[int, int]], at_ns: int) -> dict[int, int]:
        """Partition to the offset of the first record that came then or later, of those that the topic has or had; the end
        where there is none. held: what the topic has.
        """
        at_ms = -(-at_ns // NS_PER_MS)
        found = {}
        for partition, offset in offsets_at(self.kafka, at_ms).items():
            low, high = held[partition]
            found[partition] = high if offset is None else min(max(offset, low), high)
            if found[partition] == low > self.log.start(partition):  # retention may have passed older ones that count
                older = self.older(partition, at_ms, low)
                found[partition] = low if older is None else older
        return found


def offsets_at(kafka: Kafka, at_ms: int, answer_s: float = ANSWER_S) -> dict[int, int | None]:
    """First offset of each partition that the broker got at this time or later; None where there is none."""
    config: dict[str, Any] = {**client_config(kafka), **READER}
    asked = [TopicPartition(EVENTS.name, partition, at_ms) for partition in range(kafka.partitions)]
    consumer = Consumer(config)
    try:
        answer = consumer.offsets_for_times(asked, timeout=answer_s)
    except KafkaException as error:
        raise BackendError(
            f"Kafka at {kafka.bootstrap} did not say which offsets belong to a time: {error.args[0].str()}"
        ) from error
    finally:
        consumer.close()
    if failed := [each for each in answer if each.error is not None]:
        raise BackendError(f"{EVENTS.name}[{failed[0].partition}]: {failed[0].error.str()}")
    return {each.partition: each.offset if each.offset >= 0 else None for each in answer}


@contextlib.contextmanager
def session_log(settings: Settings) -> Iterator[SessionLog]:
    """The current log of the services that `settings` name; ClickHouse is asked only where the topic does not reach."""
    await_kafka(settings)
    log, connected = current_log(settings.kafka), contextlib.ExitStack()

    def older(partition: int, at_ms: int, below: int) -> int | None:
        clickhouse = settings.clickhouse
        database = connect(clickhouse.url.get_secret_value(), timeout_s=clickhouse.timeout.total_seconds())
        connected.callback(database.close)
        return stored_offset(database, (clickhouse.database, log.log_id), partition, at_ms, below)

    with connected:
        yield SessionLog(settings.kafka, log, older)


def stored_offset(database: Database, log: tuple[str, str], partition: int, at_ms: int, below: int) -> int | None:
    """First offset below `below` of a record that came at this time or later; `log`: names of its database and of itself."""
    name, log_id = log
    tables = " UNION ALL ".join(
        f"SELECT src_offset FROM `{name}`.`{table}` WHERE log_id = {{log:String}} "  # noqa: S608
        "AND src_partition = {partition:UInt16} AND src_offset < {below:Int64} "
        "AND ts_broker >= fromUnixTimestamp64Milli({at:Int64}, 'UTC')"
        for table in ARCHIVE
    )
    count, first = database.rows(
        f"SELECT count(), min(src_offset) FROM ({tables})",  # noqa: S608
        {"log": log_id, "partition": partition, "below": below, "at": at_ms},
    ).rows[0]
    return int(first) if count else None
