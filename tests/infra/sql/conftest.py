"""An engine of one's own with our tables in it, and rows in every one of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import pytest

from api.sql.ports import SqlQuery
from infra.clickhouse import Database
from infra.sql.access import guard_of
from infra.sql.reader import ClickHouseSql, Limits
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from schemas.tables import SOURCE, Table, tables
from tests.infra.engine import EngineProcess, engine

NAME: Final = "tickwire"
ROWS: Final = 5_000
LIMITS: Final = Limits(time_s=2, memory=256 << 20, rows=50_000_000, bytes=4 << 30)
TABLES: Final = {table.name: table for table in tables(FEATURE_NAMES)}
GUARD: Final = guard_of(NAME)
FIRST_NS: Final = 1_795_357_800_000_000_000
"""2026-11-22 14:30:00: row n is n ms later."""
TIME: Final = f"fromUnixTimestamp64Nano(toInt64({FIRST_NS} + number * 1000000))"
VALUES: Final = {
    "symbol": "['SIMA', 'SIMB', 'SIMC'][number % 3 + 1]", "venue": "'SIM'", "kind": "'1m'", "rev": "number % 2",
    "model_id": "['river', 'mlp'][number % 2 + 1]", "champion": "number % 2", "label": "(number * 7) % 2", "void": "''",
    "score": "0.5 + sin(number) / 3", "p_up": "0.5 + sin(number) / 3", "horizon_ns": "10000000000", "reason": "'undecodable'",
    "log_id": "'sim-1'", "src_partition": "number % 4", "src_offset": "number", "refers_seq": "number", "seq": "number",
    "bid": "100 + sin(number)", "ask": "100.1 + sin(number)", "price": "100.05 + sin(number)", "in_bars": "1", "late": "0",
    "n_trades": "5", "events_in": "number", "folded": "number", "duplicate": "0", "rejected": "0", "control": "0",
    "raw": "unhex('fffe22')", "detail": "'line one\\nsays \"two\"'",
}  # fmt: skip
"""What a column gets of `number`; the others get what their type has."""


@dataclass(frozen=True)
class Stored:
    """The engine, a connection that may do anything, and the reader that users have."""

    engine: EngineProcess
    database: Database
    reader: ClickHouseSql
    patient: ClickHouseSql
    """With much time, for questions that are about something else."""

    def ask(self, sql: str, limit: int = 1_000, **parameters: str | float) -> list[str]:
        """The rows of one statement, as their JSON."""
        return [bytes(row).decode() for row in self.patient.table(SqlQuery(sql, parameters, limit, "test")).rows]


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Shared; what a test writes goes into tables of its own."""
    with engine(tmp_path_factory.mktemp("sql")) as running:
        database = running.database()
        create_tables(database, NAME, FEATURE_NAMES)
        for table in TABLES.values():
            database.command(_filling(table))
        reader, patient = (ClickHouseSql(running.url, NAME, limits) for limits in (LIMITS, replace(LIMITS, time_s=60)))
        yield Stored(running, database, reader, patient)
        for each in (reader, patient, database):
            each.close()


def _filling(table: Table) -> str:
    values = [f"{_value(name, type_)} AS `{name}`" for name, type_ in table.types.items()]
    columns = ", ".join(f"`{name}`" for name in table.types)
    # corrections of a few trades only, or each of them would be one that is taken back
    where = "WHERE number % 100 = 0" if table.name == "corrections" else ""
    return f"INSERT INTO `{NAME}`.`{table.name}` ({columns}) SELECT {', '.join(values)} FROM numbers({ROWS}) {where}"


def _value(name: str, type_: str) -> str:
    if name in VALUES:
        return VALUES[name]
    if type_.startswith("DateTime64"):
        return TIME if name in SOURCE or name != "end" else f"{TIME} + INTERVAL 1 MINUTE"
    if "String" in type_:
        return f"'{name}'"
    return "1 + number % 10"
