"""Our tables in ClickHouse: making them, the high-water mark, and inserts that are tried again with the same token."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

import numpy as np

from infra.clickhouse import Database
from infra.failpoints import hit
from infra.fences import VIOLATED_CONSTRAINT, create_fence, guard, guarded_tables
from infra.high_water import HighWaters
from infra.patience import FULL, passing
from infra.readback import ReadBack
from infra.writers import create_writers
from schemas.errors import BackendError, DatabaseError, WriterError
from schemas.tables import Table, tables
from schemas.views import views
from streams.ports import Meter

PATIENCE: Final = timedelta(minutes=10)
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
log: Final = logging.getLogger(__name__)


def create_tables(database: Database, name: str, feature_names: Sequence[str], *, codecs: bool = True) -> None:
    """Make what is missing; a feature that is new becomes a column that is new."""
    database.command(f"CREATE DATABASE IF NOT EXISTS `{name}`")
    create_writers(database, name)
    create_fence(database, name)
    known, guarded = _columns(database, name), guarded_tables(database, name)
    for table in tables(feature_names):
        if table.name not in known:
            database.command(table.ddl(name, codecs=codecs))
        else:
            _add_columns(database, name, table, known[table.name])
        if table.name not in guarded:
            guard(database, name, table.name)
    for ddl in views(name, parametrised=codecs).values():
        database.command(ddl)


def _columns(database: Database, name: str) -> dict[str, set[str]]:
    """Table to the columns that it has."""
    there = database.rows("SELECT table, name FROM system.columns WHERE database = {d:String}", {"d": name})
    known: dict[str, set[str]] = {}
    for table, column in there.rows:
        known.setdefault(table, set()).add(column)
    return known


def _add_columns(database: Database, name: str, table: Table, known: Set[str]) -> None:
    for column, type_ in table.types.items():
        if column not in known:
            default = " DEFAULT nan" if type_ == "Float64" else ""
            database.command(
                f"ALTER TABLE `{name}`.`{table.name}` ADD COLUMN IF NOT EXISTS `{column}` {type_}{default}"
            )


class Writer(Protocol):
    """The right to write, as `infra.writers.Lease` has it."""

    def wait(self, within_s: float) -> None:
        """Return if this process may write; `WriterError` when it may not any more."""

    def query_id(self) -> str:
        """A new one, by which ClickHouse knows whose insert it is."""


class ClickHouseTables:
    """`streams.ports.TableStore` over a `Database`; without `writer` nobody else may write the same rows.

    `starts`: by partition, the first offset of the log, where it is not 0.
    """

    def __init__(
        self, database: Database, name: str, log_id: str, patience: timedelta = PATIENCE, *,
        writer: Writer | None = None, meter: Meter | None = None, starts: Mapping[int, int] | None = None,
    ) -> None:  # fmt: skip
        self._starts = starts or {}
        self._database, self._name, self._log_id = database, name, log_id
        self._patience_s, self._writer, self._meter = patience.total_seconds(), writer, meter
        self._readback = ReadBack(database, name, log_id)
        self._marks: HighWaters | None = None
        self._marked: set[int] = set()
        self._begun: set[tuple[str, int]] = set()
        self._over = threading.Event()

    def high_waters(self, names: Sequence[str], partition: int) -> dict[str, int]:
        """Table to the newest offset that it holds, -1 where it holds none."""
        hit("sink.before_high_water")
        again = (
            partition in self._marked
        )  # nothing of a partition is written before it is asked for: one look does for all
        if again or self._marks is None or list(names) != list(self._marks.tables):
            self._marks, self._marked = HighWaters(self._database, self._name, self._log_id, names), set()
        self._marked.add(partition)
        found = self._marks.of(partition, self._starts.get(partition, 0))
        hit("sink.after_high_water")
        return found

    def insert(self, table: str, columns: Mapping[str, Any], token: str) -> None:
        """Insert; what passes is waited out, and the rows are looked for before and after the same block goes again with the
        same token.

        A full disk is waited out for as long as it lasts, silence and overload for `patience`; anything else stops the
        worker at once. `WriterError` where another process has become the writer.

        The first block of a table and partition is looked for also where nothing failed: of a predecessor's insert that was
        killed the token may be there without the rows. Those lie right above the mark, so no later block has that token.
        """
        first = self._unbegun(table, columns)
        attempt = _Attempt(table, token, first=bool(first))
        while True:
            try:
                self._try(attempt, columns)
                break
            except BackendError as error:
                self._wait_out(attempt, error)
        self._begun |= first
        self._show(attempt, waiting=False)
        hit("sink.after_insert")

    def give_up(self) -> None:
        """Wait for ClickHouse no longer: what would be tried again ends with what it failed of."""
        self._over.set()

    def _unbegun(self, table: str, columns: Mapping[str, Any]) -> set[tuple[str, int]]:
        """Table and partitions of which nothing was stored yet; none where there was no writer before."""
        if self._writer is None:
            return set()
        return {(table, int(each)) for each in np.unique(columns["src_partition"])} - self._begun

    def _try(self, attempt: "_Attempt", columns: Mapping[str, Any]) -> None:
        if self._writer is not None:
            self._writer.wait(self._patience_s)
            attempt.query_ids.append(self._writer.query_id())
        hit("sink.before_insert")
        if attempt.failures and self._readback.holds(attempt.table, columns, attempt.query_ids):
            return  # only the answer was lost: asked first, since by now the table may have forgotten the token
        at, query_id = f"{self._name}.{attempt.table}", attempt.query_ids[-1] if attempt.query_ids else None
        self._database.insert(at, columns, token=attempt.token, query_id=query_id)
        while attempt.in_doubt and not self._readback.holds(attempt.table, columns, attempt.query_ids):
            attempt.again += 1
            attempt.token = f"{attempt.first_token}/{attempt.again}"
            log.warning(
                "%s: ClickHouse acknowledged block %s but does not have it (it was killed between noting the token and "
                "storing the rows); storing it under another token", attempt.table, attempt.first_token,
            )  # fmt: skip
            self._count("tickwire_clickhouse_restored_total", attempt.table)
            self._database.insert(at, columns, token=attempt.token, query_id=query_id)

    def _wait_out(self, attempt: "_Attempt", error: BackendError) -> None:
        if isinstance(error, DatabaseError) and error.code == VIOLATED_CONSTRAINT and "`fenced`" in str(error):
            raise WriterError(
                f"{self._name}.{attempt.table} refused block {attempt.token}: another process has become the writer of its "
                "partitions; nothing of it was stored, and this process ends"
            ) from error
        reason = passing(error)
        attempt.failures += 1
        attempt.reason = reason or ""
        if reason is None or (reason != FULL and attempt.waited_s() > self._patience_s):
            raise error
        log.warning("%s: block %s waits (%s): %s", attempt.table, attempt.token, reason, error)
        self._count("tickwire_clickhouse_retries_total", attempt.table)
        self._show(attempt, waiting=True)
        if self._over.wait(attempt.pause_s()):
            raise error

    def _show(self, attempt: "_Attempt", *, waiting: bool) -> None:
        if self._meter is not None and attempt.reason:
            self._meter.gauge("tickwire_clickhouse_waiting", int(waiting), reason=attempt.reason)

    def _count(self, name: str, table: str) -> None:
        if self._meter is not None:
            self._meter.count(name, table=table)


@dataclass
class _Attempt:
    """One block on its way, and what became of it so far."""

    table: str
    token: str
    first: bool = False
    failures: int = 0
    again: int = 0
    reason: str = ""
    query_ids: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.first_token = self.token

    @property
    def in_doubt(self) -> bool:
        """Whether its token may have been known before its rows were."""
        return self.first or self.failures > 0

    def waited_s(self) -> float:
        return time.monotonic() - self.began

    def pause_s(self) -> float:
        return min(FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 10), LONGEST_PAUSE_S)
