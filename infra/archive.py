"""The events log as ClickHouse has it: read in the order of its offsets, in bounded memory, whatever the topic has lost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from infra.clickhouse import Database
from schemas.errors import LogError
from streams.archive import ARCHIVE, Archived, restored

WINDOW: Final = 65_536
"""Records in memory at once."""


@dataclass(frozen=True, slots=True)
class Day:
    """Records of one partition that lie in one part of every table: offsets [first, end)."""

    day: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class ClickHouseArchive:
    """Every record of one log that was ever folded."""

    database: Database
    name: str
    log_id: str

    def days(self, partition: int) -> Iterator[Day]:
        """What is stored, by day of the broker's clock, which never falls with the offsets; a question each, so that none is
        about the whole history."""
        found = self.database.rows(
            "SELECT DISTINCT toUInt16(toDate(partition)) AS day FROM system.parts "
            "WHERE active AND database = {d:String} AND table IN {t:Array(String)} ORDER BY day",
            {"d": self.name, "t": list(ARCHIVE)},
        )
        for (day,) in found.rows:
            yield from self._of_day(partition, int(day))

    def _of_day(self, partition: int, day: int) -> list[Day]:
        """None where the log has nothing of that day."""
        tables = " UNION ALL ".join(
            f"SELECT src_offset FROM `{self.name}`.`{table}` WHERE toDate(ts_broker) = toDate({{day:UInt16}}) "  # noqa: S608
            "AND log_id = {log:String} AND src_partition = {partition:UInt16}"
            for table in ARCHIVE
        )
        ((count, first, last),) = self.database.rows(
            f"SELECT count(), min(src_offset), max(src_offset) FROM ({tables})",  # noqa: S608
            {"day": day, "log": self.log_id, "partition": partition},
        ).rows
        return [Day(day, int(first), int(last) + 1)] if count else []

    def first(self, partition: int) -> int | None:
        """Where the fold of this partition began, by the ledger or the first row; None where nothing is stored."""
        told = self.database.rows(
            f"SELECT count(), min(first_offset) FROM `{self.name}`.ledger "  # noqa: S608
            "WHERE log_id = {log:String} AND src_partition = {partition:UInt16}",
            {"log": self.log_id, "partition": partition},
        ).rows[0]
        starts = [int(told[1])] if told[0] else []
        starts += [day.first for day in islice(self.days(partition), 1)]
        return min(starts, default=None)

    def read(self, partition: int, first: int, end: int) -> Iterator[Archived]:
        """The records `first` to `end` (not included), at most `WINDOW` at once, and what is missing of them."""
        at = first
        for day in self.days(partition):
            if at >= end:
                break
            until = min(day.end, end)
            while at < until:
                stop = min(until, max(at, day.first) + WINDOW)
                yield restored(partition, at, stop, self._found(partition, day.day, at, stop))
                at = stop
        if at < end:
            yield restored(partition, at, end, {})

    def _found(self, partition: int, day: int, first: int, end: int) -> Mapping[str, Mapping[str, list[Any]]]:
        found = {}
        for table, names in ARCHIVE.items():
            rows = self.database.rows(
                f"SELECT {', '.join(names)} FROM `{self.name}`.`{table}` "  # noqa: S608
                "WHERE toDate(ts_broker) = toDate({day:UInt16}) AND log_id = {log:String} "
                "AND src_partition = {partition:UInt16} AND src_offset >= {first:Int64} AND src_offset < {end:Int64}",
                {"day": day, "log": self.log_id, "partition": partition, "first": first, "end": end},
            )
            if rows.rows:
                found[table] = {
                    name: list(column) for name, column in zip(names, zip(*rows.rows, strict=True), strict=True)
                }
        return found


def refuse_gaps(partition: int, missing: list[tuple[int, int]]) -> None:
    """Raise `LogError` for records that neither the topic nor ClickHouse has."""
    if not missing:
        return
    lost = sum(end - first for first, end in missing)
    shown = ", ".join(f"{first}-{end - 1}" for first, end in missing[:5])
    raise LogError(
        f"partition {partition}: expected a row of every record that the topic no longer has, found none of {lost} "
        f"(offsets {shown}{', …' if len(missing) > 5 else ''}); restore the tables from a backup, or say `--accept-loss` to "
        "fold without them: what follows then differs from what was served before"
    )
