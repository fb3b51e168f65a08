"""What ClickHouse has of a log, day by day: no question is about the whole history."""

from dataclasses import dataclass, field
from typing import Any

from infra.archive import ClickHouseArchive, Day
from streams.archive import ARCHIVE


@dataclass
class Rows:
    rows: list[tuple[Any, ...]]


@dataclass
class FakeDatabase:
    """Days 10 to 12 have parts; the log has nothing of day 11. Remembers what it was asked."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def rows(self, sql: str, parameters: dict[str, Any]) -> Rows:
        self.asked.append((sql, parameters))
        if "system.parts" in sql:
            return Rows([(10,), (11,), (12,)])
        if "ledger" in sql:
            return Rows([(0, 0)])
        return Rows([{10: (3, 5, 7), 11: (0, 0, 0), 12: (2, 8, 9)}[parameters["day"]]])


def test_each_day_is_asked_by_itself_and_one_without_records_is_none() -> None:
    database = FakeDatabase()
    archive = ClickHouseArchive(database, "db", "log-1")  # type: ignore[arg-type]
    assert list(archive.days(3)) == [Day(10, 5, 8), Day(12, 8, 10)]
    for sql, parameters in database.asked[1:]:
        assert sql.count("toDate(ts_broker) = toDate({day:UInt16})") == len(ARCHIVE) == sql.count("FROM `db`.")
        assert (parameters["log"], parameters["partition"]) == ("log-1", 3)


def test_where_a_fold_began_is_told_by_the_first_day_alone() -> None:
    database = FakeDatabase()
    assert ClickHouseArchive(database, "db", "log-1").first(0) == 5  # type: ignore[arg-type]
    assert [parameters["day"] for _, parameters in database.asked if "day" in parameters] == [10]
