"""Our tables in ClickHouse: making them, the high-water mark, and inserts that are tried again with the same token."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import stamina

from infra.clickhouse import Database
from infra.failpoints import hit
from schemas.errors import DatabaseUnavailable
from schemas.tables import Table, tables, views

PATIENCE = timedelta(seconds=60)


def create_tables(database: Database, name: str, feature_names: Sequence[str], *, codecs: bool = True) -> None:
    """Make what is missing; a feature that is new becomes a column that is new."""
    database.command(f"CREATE DATABASE IF NOT EXISTS `{name}`")
    for table in tables(feature_names):
        database.command(table.ddl(name, codecs=codecs))
        _add_columns(database, name, table)
    for ddl in views(name).values():
        database.command(ddl)


def _add_columns(database: Database, name: str, table: Table) -> None:
    there = database.rows(
        "SELECT name FROM system.columns WHERE database = {d:String} AND table = {t:String}",
        {"d": name, "t": table.name},
    )
    known = {row[0] for row in there.rows}
    for column, type_ in table.types.items():
        if column not in known:
            default = " DEFAULT nan" if type_ == "Float64" else ""
            database.command(
                f"ALTER TABLE `{name}`.`{table.name}` ADD COLUMN IF NOT EXISTS `{column}` {type_}{default}"
            )


class ClickHouseTables:
    """`streams.ports.TableStore` over a `Database`."""

    def __init__(self, database: Database, name: str, log_id: str, patience: timedelta = PATIENCE) -> None:
        self._database, self._name, self._log_id, self._patience = database, name, log_id, patience

    def high_water(self, table: str, partition: int) -> int:
        """`max` of an empty table is 0 in ClickHouse, and 0 is an offset: hence the count."""
        hit("sink.before_high_water")
        found = self._database.rows(
            f"SELECT if(count() = 0, -1, max(src_offset)) FROM `{self._name}`.`{table}` "  # noqa: S608
            "WHERE log_id = {log_id:String} AND src_partition = {partition:UInt16}",
            {"log_id": self._log_id, "partition": partition},
        )
        hit("sink.after_high_water")
        return int(found.rows[0][0])

    def insert(self, table: str, columns: Mapping[str, Any], token: str) -> None:
        """Insert; while nobody answers, the same block with the same token again, then give up and stop the worker."""
        hit("sink.before_insert")
        for attempt in stamina.retry_context(
            on=DatabaseUnavailable, attempts=None, timeout=self._patience, wait_initial=0.1, wait_max=5.0
        ):
            with attempt:
                self._database.insert(f"{self._name}.{table}", columns, token=token)
        hit("sink.after_insert")
