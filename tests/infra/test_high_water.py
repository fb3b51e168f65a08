"""High-water marks come from the newest days, and are what the whole tables say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra import high_water
from infra.clickhouse import Database, Result
from infra.high_water import HighWaters
from infra.log_identity import LogIdentity
from infra.log_records import LogRecords
from infra.tables import ClickHouseTables
from tests.infra.engine import NAME

pytestmark = pytest.mark.embedded
DAY_MS = 86_400_000
TODAY = 20_000
TABLES = ("dead_letters", "marks", "ledger")
WORDS: Mapping[str, Mapping[str, Any]] = {
    "dead_letters": {"source": "events", "reason": "undecodable", "detail": "", "ts_ingest": 0, "raw": b"?"},
    "marks": {
        "symbol": "", "venue": "X", "seq": 0, "ts_event": 0, "ts_ingest": 0, "kind": "heartbeat", "repeats": "", "raw": b"?",
    },
    "ledger": {
        "ts_event": 0, "events_in": 0, "folded": 0, "duplicate": 0, "late": 0, "rejected": 0, "control": 0,
        "features_hash": 0, "features_id": "f", "first_offset": 0,
    },
}  # fmt: skip


class Asked:
    """A database that remembers what it was asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[tuple[str, Any]] = []

    def rows(self, sql: str, parameters: Any = None) -> Result:
        self.asked.append((sql, parameters))
        return self._database.rows(sql, parameters)

    def read(self) -> dict[str, int]:
        """Table to the rows that the parts and granules hold which those questions went through, as the engine plans it."""
        found: dict[str, int] = {}
        for sql, parameters in self.asked:
            plan = self._database.rows(f"EXPLAIN ESTIMATE {sql}", parameters)
            for table, rows in zip(plan.column("table"), plan.column("rows"), strict=True):
                found[table] = found.get(table, 0) + rows
        return found


def put(database: Database, table: str, rows: list[tuple[int, int, int]], log_id: str = "log") -> None:
    """Rows (day, partition, offset), as one block."""
    day, partition, offset = np.array(rows, np.int64).T
    words = {name: [value] * len(rows) if isinstance(value, str | bytes) else np.full(len(rows), value)
             for name, value in WORDS[table].items()}  # fmt: skip
    database.insert(
        f"{NAME}.{table}",
        {**words, "log_id": [log_id] * len(rows), "src_partition": partition.astype(np.uint16), "src_offset": offset,
         "ts_broker": (TODAY + day) * DAY_MS},
    )  # fmt: skip


def marks(database: Any, partition: int = 0) -> dict[str, int]:
    return ClickHouseTables(database, NAME, "log").high_waters(TABLES, partition)


@pytest.fixture
def store(writers_store: Database) -> Database:
    return writers_store


def test_an_empty_table_and_one_with_the_offset_zero_are_told_apart(store: Database) -> None:
    put(store, "marks", [(0, 0, 0)])
    assert marks(store) == {"dead_letters": -1, "marks": 0, "ledger": -1}
    assert marks(store, partition=1) == {"dead_letters": -1, "marks": -1, "ledger": -1}


def test_other_tables_may_be_asked_for_between(store: Database) -> None:
    put(store, "marks", [(0, 0, 5), (0, 1, 6)])
    put(store, "dead_letters", [(0, 1, 7)])
    asked = ClickHouseTables(store, NAME, "log")
    for partition in (0, 1, 2):
        asked.high_waters(TABLES, partition)
    assert asked.high_waters(["marks"], 1) == {"marks": 6}
    assert asked.high_waters(["dead_letters"], 0) == {"dead_letters": -1}
    assert asked.high_waters(["dead_letters"], 1) == {"dead_letters": 7}


@pytest.mark.parametrize("told", [True, False], ids=["a ledger", "no ledger yet"])
def test_each_table_has_its_own_day_and_other_logs_and_partitions_do_not_count(store: Database, told: bool) -> None:
    put(store, "dead_letters", [(0, 0, 7), (0, 1, 9)])
    put(store, "marks", [(1, 0, 8), (3, 0, 200_000), (5, 1, 11)])
    put(store, "marks", [(6, 0, 900_000)], log_id="other")
    if told:
        put(store, "ledger", [(3, 0, 199_999), (5, 1, 10)])
    assert marks(store) == {"dead_letters": 7, "marks": 200_000, "ledger": 199_999 if told else -1}
    assert marks(store, partition=1) == {"dead_letters": 9, "marks": 11, "ledger": 10 if told else -1}
    records, log = LogRecords(store, NAME, Path("unused")), LogIdentity(log_id="log")
    assert records.reached(TABLES, log, range(3)) == {0: 200_001, 1: 12}
    assert records.reached(["dead_letters"], log, range(3)) == {0: 8, 1: 10}


@pytest.mark.parametrize("told", [True, False], ids=["a ledger", "no ledger yet"])
def test_producers_whose_clocks_disagree_around_midnight_change_no_answer(store: Database, told: bool) -> None:
    put(store, "marks", [(3, 0, 100), (4, 0, 102)])
    put(store, "marks", [(3, 0, 103), (3, 0, 104)])
    if told:
        put(store, "ledger", [(4, 0, 102)])
    assert marks(store)["marks"] == 104


def test_days_that_are_asked_together_and_one_by_one_say_the_same(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    for day in range(12):
        put(store, "marks", [(day, int(rng.integers(3)), day * 100 + n) for n in range(1, int(rng.integers(2, 9)))])
    for partition in range(4):
        whole = store.rows(
            f"SELECT if(count() = 0, -1, max(src_offset)) FROM {NAME}.marks WHERE src_partition = {partition}"
        ).rows[0][0]
        for at_once in (1, 5, 11, 1_000):
            monkeypatch.setattr(high_water, "AT_ONCE", at_once)
            assert HighWaters(store, NAME, "log", ["marks"]).of(partition) == {"marks": whole}


def test_old_days_are_not_read(store: Database) -> None:
    for day in range(4):
        put(store, "marks", [(day, p, day * 100_000 + n) for p in (0, 1) for n in range(20_000)])
    asked = Asked(store)
    assert marks(asked)["marks"] == 319_999
    assert asked.read()["marks"] > 0, "there is something to prove"
    assert asked.read()["marks"] <= 160_000, "all fits into one question, but for the ledger"
    put(store, "ledger", [(3, p, 319_990) for p in (0, 1)])
    asked = Asked(store)
    assert marks(asked) == {"dead_letters": -1, "marks": 319_999, "ledger": 319_990}
    assert asked.read()["marks"] <= 40_000
    asked = Asked(store)
    assert LogRecords(asked, NAME, Path("unused")).reached(["marks"], LogIdentity(log_id="log"), [0]) == {0: 320_000}  # type: ignore[arg-type]
    assert asked.read()["marks"] <= 40_000


def test_within_a_day_only_the_newest_offsets_are_read(store: Database) -> None:
    put(store, "marks", [(0, 0, n) for n in range(300_000)])
    put(store, "ledger", [(0, 0, 299_000)])
    asked = Asked(store)
    assert marks(asked)["marks"] == 299_999
    assert asked.read()["marks"] < 100_000
