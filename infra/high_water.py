"""The newest stored offset of each table, found without reading what is old: it is asked at every start."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from infra.clickhouse import Database
from schemas.tables import LEDGER

NEAR: Final = 65_536
"""Offsets behind the ledger's newest row that are looked at first: a table that is written to has rows there."""
AT_ONCE: Final = 16_000_000
"""Rows of a table that one question goes through, unless a single day has more: an answer must not be silent for long."""


@dataclass(frozen=True, slots=True)
class _Days:
    """Days of the broker's clock, as numbers; both are included."""

    first: int
    last: int

    def where(self, least: int) -> str:
        return (
            f"toDate(ts_broker) BETWEEN toDate({max(0, self.first)}) AND toDate({self.last}) AND src_offset >= {least}"
        )


class HighWaters:
    """What some tables hold of one log, as it was when this was made.

    Tables have a part for each day and, within it, an index of offsets. The newest days are asked first, and older ones only
    for tables of which nothing was found. A record's time may be its producer's: clocks that differ by less than a day
    change no answer.
    """

    def __init__(self, database: Database, name: str, log_id: str, tables: Sequence[str]) -> None:
        self._database, self._name, self._log_id, self.tables = database, name, log_id, tables
        self._rows = self._rows_by_day()
        self._told = self._ledger() if LEDGER.name in self._rows else {}
        self._beside: dict[int, dict[str, int]] | None = None

    def of(self, partition: int, first: int = 0) -> dict[str, int]:
        """Table to its newest offset, -1 where it has no row; `first`: the log has none below."""
        return self._all(partition, first, self._near(partition))

    def after(self, partition: int, first: int = 0) -> int:
        """The offset behind the newest row that any table holds; 0 where there is none."""
        near = self._near(partition)
        found = near or self._all(partition, first, near)  # what is not near is older than what is
        return max(found.values(), default=-1) + 1

    def _near(self, partition: int) -> dict[str, int]:
        """Of tables that have rows just behind the ledger's newest one; all partitions are asked for at once, which costs the
        database as much as one: most of such a question is reading the question."""
        if self._beside is None:
            self._beside = self._ask_near() if self._told else {}
        return self._beside.get(partition, {})

    def _ask_near(self) -> dict[int, dict[str, int]]:
        least = {partition: max(0, offset - NEAR) for partition, (offset, _) in self._told.items()}
        days = _Days(min(day for _, day in self._told.values()) - 1, max(map(max, self._rows.values())))
        where = days.where(min(least.values()))
        each = " OR ".join(f"(src_partition = {partition} AND src_offset >= {at})" for partition, at in least.items())
        asked = [
            f"SELECT '{table}', src_partition, max(src_offset) FROM `{self._name}`.`{table}` "  # noqa: S608
            f"WHERE log_id = {{log_id:String}} AND {where} AND ({each}) GROUP BY src_partition"
            for table in self.tables
            if table in self._rows
        ]
        if not asked:
            return {}
        found: dict[int, dict[str, int]] = {}
        for table, partition, offset in self._database.rows("\nUNION ALL ".join(asked), {"log_id": self._log_id}).rows:
            found.setdefault(int(partition), {})[str(table)] = int(offset)
        return found

    def _all(self, partition: int, first: int, near: Mapping[str, int]) -> dict[str, int]:
        found = dict(near)
        for stretches in zip_longest(*map(self._backwards, self.tables)):
            asked = {
                table: days
                for table, days in zip(self.tables, stretches, strict=True)
                if days is not None and table not in found
            }
            new = self._ask(partition, {table: days.where(first) for table, days in asked.items()})
            before = {table: _Days(asked[table].first - 1, asked[table].first - 1) for table in new}
            ahead = {table: days.where(new[table] + 1) for table, days in before.items()}
            found |= new | self._ask(partition, ahead)
        return {table: found.get(table, -1) for table in self.tables}

    def _backwards(self, table: str) -> Iterator[_Days]:
        """Stretches of days that have rows, the newest first."""
        last, first, rows = -1, -1, 0
        for day, n in sorted(self._rows.get(table, {}).items(), reverse=True):
            if last >= 0 and rows + n > AT_ONCE:
                yield _Days(first, last)
                last, rows = -1, 0
            last, first, rows = (last if last >= 0 else day), day, rows + n
        if last >= 0:
            yield _Days(first, last)

    def _ask(self, partition: int, where: Mapping[str, str]) -> dict[str, int]:
        """`max` of no rows is 0 in ClickHouse, and 0 is an offset: hence the count."""
        if not where:
            return {}
        asked = (
            f"SELECT '{table}', count(), max(src_offset) FROM `{self._name}`.`{table}` "  # noqa: S608
            f"WHERE log_id = {{log_id:String}} AND src_partition = {{partition:UInt16}} AND {condition}"
            for table, condition in where.items()
        )
        found = self._database.rows("\nUNION ALL ".join(asked), {"log_id": self._log_id, "partition": partition})
        return {str(table): int(offset) for table, count, offset in found.rows if count}

    def _rows_by_day(self) -> Mapping[str, Mapping[int, int]]:
        found = self._database.rows(
            "SELECT table, toUInt16(toDate(partition)) AS day, sum(rows) FROM system.parts "
            "WHERE active AND database = {d:String} AND table IN {t:Array(String)} GROUP BY table, day",
            {"d": self._name, "t": [*self.tables, LEDGER.name]},
        )
        days: dict[str, dict[int, int]] = {}
        for table, day, rows in found.rows:
            days.setdefault(str(table), {})[int(day)] = int(rows)
        return days

    def _ledger(self) -> Mapping[int, tuple[int, int]]:
        """Partition to the offset and day of the ledger's newest row: a row a minute, sorted by log."""
        found = self._database.rows(
            "SELECT src_partition, max(src_offset), toUInt16(toDate(argMax(ts_broker, src_offset))) "  # noqa: S608
            f"FROM `{self._name}`.`{LEDGER.name}` WHERE log_id = {{log_id:String}} GROUP BY src_partition",
            {"log_id": self._log_id},
        )
        return {int(partition): (int(offset), int(day)) for partition, offset, day in found.rows}
