"""Which log our history was written from: kept in ClickHouse, where a new machine finds it too, and beside the recovery store."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from infra.clickhouse import Database, connect
from infra.high_water import HighWaters
from infra.log_identity import FILE, LogIdentity, current_log, read_logs, write_logs
from infra.settings import Settings
from schemas.errors import LogError
from schemas.topics import EVENTS

TABLE: Final = "logs"
COLUMNS: Final = (
    "topic LowCardinality(String), log_id String, partitions UInt16, starts Array(Int64), ends Array(Int64), closed Bool, "
    "lost Array(UInt64), why String, opened DateTime64(9, 'UTC'), version UInt64"
)


class LogRecords:
    """The logs that a deployment has written from.

    beside: the directory of the recovery stores.
    """

    def __init__(self, database: Database, name: str, beside: Path) -> None:
        self._database, self._name, self._file = database, name, beside / FILE

    def create(self) -> None:
        """Make the table if it is missing."""
        self._database.command(f"CREATE DATABASE IF NOT EXISTS `{self._name}`")
        self._database.command(
            f"CREATE TABLE IF NOT EXISTS `{self._name}`.`{TABLE}` ({COLUMNS}) ENGINE = ReplacingMergeTree(version) "
            "ORDER BY (topic, log_id)"
        )

    def newest(self, topic: str = EVENTS.name) -> LogIdentity | None:
        """The log that was opened last; None where nothing was written yet."""
        known = [*self._stored(topic), *(log for log in read_logs(self._file) if log.topic == topic)]
        return max(known, key=lambda log: log.opened_ns, default=None)

    def before(self, log: LogIdentity) -> list[str]:
        """Ids of the logs of its topic that were opened before it, oldest first."""
        known = [each for each in (*read_logs(self._file), *self._stored(log.topic)) if each.topic == log.topic]
        opened = {each.log_id: each.opened_ns for each in known}
        since = opened.get(log.log_id, log.opened_ns)
        return sorted((each for each, at in opened.items() if at < since), key=lambda each: opened[each])

    def _stored(self, topic: str) -> list[LogIdentity]:
        found = self._database.rows(
            "SELECT log_id, partitions, toString(starts), toString(ends), closed, toString(lost), why, "  # noqa: S608
            f"toUnixTimestamp64Nano(opened) FROM `{self._name}`.`{TABLE}` FINAL WHERE topic = {{topic:String}}",
            {"topic": topic},
        )
        return [
            LogIdentity(
                log_id=log_id, topic=topic, partitions=partitions, starts=_by_partition(starts),
                ends=_by_partition(ends) if closed else None, lost=_by_partition(lost), why=why, opened_ns=opened,
            )
            for log_id, partitions, starts, ends, closed, lost, why, opened in found.rows
        ]  # fmt: skip

    def keep(self, logs: Sequence[LogIdentity]) -> None:
        """Write down what is not known yet or has changed; the same again changes nothing."""
        known = {log.log_id: log for log in self._stored(logs[-1].topic)}
        for log in logs:
            if not _same(known.get(log.log_id), log):
                self._insert(log)
        others = [log for log in read_logs(self._file) if log.log_id not in {each.log_id for each in logs}]
        write_logs(self._file, [*others, *logs])

    def _insert(self, log: LogIdentity) -> None:
        n = max([log.partitions, *(p + 1 for p in (*log.starts, *(log.ends or ()), *log.lost))])
        self._database.command(
            f"INSERT INTO `{self._name}`.`{TABLE}` SELECT {{topic:String}}, {{log_id:String}}, {log.partitions}, "
            f"{_array(log.starts, n)}::Array(Int64), {_array(log.ends or {}, n)}::Array(Int64), {log.ends is not None}, "
            f"{_array(log.lost, n)}::Array(UInt64), {{why:String}}, fromUnixTimestamp64Nano({log.opened_ns}::Int64), "
            f"{time.time_ns()}::UInt64",
            {"topic": log.topic, "log_id": log.log_id, "why": log.why},
        )

    def adopt(self, log: LogIdentity, why: str) -> LogIdentity:
        """Go on under this log from now on: what another one left behind stays, and is not read again."""
        opened = msgspec.structs.replace(log, opened_ns=time.time_ns(), why=why)
        self.keep([opened])
        return opened

    def confirm(self, log: LogIdentity) -> None:
        """Let this log be the one our history goes on from, or `LogError` where it is another one."""
        last = self.newest(log.topic)
        if last is None:
            self.adopt(log, "first start")
        elif last.log_id != log.log_id:
            raise LogError(
                f"topic {log.topic} was made anew: our history was written from log {last.log_id}, the broker has "
                f"{log.log_id}; its offsets begin again, and what it brings would be taken for what was written already; "
                "run `tickwire rebuild --new-log` to go on under the new log (the old history stays), or point "
                "TICKWIRE_KAFKA__BOOTSTRAP at the broker that has the old one"
            )
        elif last.partitions != log.partitions:
            raise LogError(
                f"topic {log.topic} has {log.partitions} partitions, our history was written from {last.partitions}: "
                "symbols have moved between partitions, and with them the order of their events; make the topic again with "
                f"{last.partitions} partitions (a new log: `tickwire rebuild --new-log`) and fill it from its sources"
            )
        else:
            self.keep([msgspec.structs.replace(log, opened_ns=last.opened_ns, why=last.why)])

    def reached(self, tables: Sequence[str], log: LogIdentity, partitions: Iterable[int]) -> Mapping[int, int]:
        """Partition to the offset behind the newest record of a log that any of these tables holds a row of."""
        held = HighWaters(self._database, self._name, log.log_id, tables)
        found = {partition: held.after(partition, log.start(partition)) for partition in partitions}
        return {partition: after for partition, after in found.items() if after}


def adopt(settings: Settings, why: str = "rebuild --new-log") -> LogIdentity:
    """Go on under the log that the broker has now, whatever our history was written from; that history stays."""
    clickhouse = settings.clickhouse
    database = connect(clickhouse.url.get_secret_value(), timeout_s=clickhouse.timeout.total_seconds())
    try:
        records = LogRecords(database, clickhouse.database, settings.data / "recovery")
        records.create()
        return records.adopt(current_log(settings.kafka), why)
    finally:
        database.close()


def _same(known: LogIdentity | None, log: LogIdentity) -> bool:
    if known is None or (known.ends is None) != (log.ends is None):
        return False
    return (known.opened_ns, known.partitions, known.why) == (log.opened_ns, log.partitions, log.why)


def _by_partition(text: str) -> dict[int, int]:
    return {partition: value for partition, value in enumerate(json.loads(text)) if value}


def _array(values: Mapping[int, int], n: int) -> str:
    return "[" + ", ".join(str(values.get(partition, 0)) for partition in range(n)) + "]"
