"""What ClickHouse refuses for a while is waited out; what it would refuse again stops the worker at once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.clickhouse import Database, Parameters, Result
from infra.native_format import Column
from infra.tables import ClickHouseTables, Writer, create_tables
from infra.telemetry import Telemetry
from processors.features import FEATURE_NAMES
from schemas.errors import BackendError, DatabaseError, DatabaseUnavailable, WriterError
from tests.infra.engine import NAME, engine
from tests.infra.writer_process import LOG_ID, ROWS, TABLE, block, token

FULL = DatabaseError("Cannot reserve 1.00 MiB, not enough space", code=243)
FULL_ON_WRITE = DatabaseError("Cannot write to file: errno: 28, strerror: No space left on device", code=75)
SILENT = DatabaseUnavailable("did not answer")


@dataclass
class FailingDatabase:
    """Fails as told, then stores; a token that was seen stores nothing.

    `loses` forgets the rows behind a token, `mute` stores and only its answer fails, and then it has forgotten the token.
    """

    failures: list[Exception]
    loses: bool = False
    mute: bool = False
    doubles: bool = False
    stored: dict[str, int] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    counted: int = 0
    """How often its rows were asked for."""

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        raise AssertionError(f"nothing is to be killed: {sql}")

    def rows(self, sql: str, parameters: Parameters | None = None) -> Result:
        if "system.processes" in sql:
            return Result(["id"], ["String"], [])
        self.counted += 1
        return Result(["count()"], ["UInt64"], [(sum(self.stored.values()) * (2 if self.doubles else 1),)])

    def arrays(self, sql: str, parameters: Parameters | None = None) -> Mapping[str, Column]:
        raise AssertionError(sql)

    def insert(
        self, table: str, columns: Mapping[str, Column], *, token: str | None = None, query_id: str | None = None
    ) -> int:
        assert token is not None
        self.tried.append(token)
        if self.failures:
            if self.loses:
                self.stored.setdefault(token, 0)
            if self.mute:
                self.stored[f"forgotten {token}"] = ROWS
            raise self.failures.pop(0)
        self.stored.setdefault(token, ROWS)
        return ROWS

    def close(self) -> None: ...


class Alone:
    """A writer that nobody takes over."""

    def wait(self, within_s: float) -> None: ...

    def query_id(self) -> str:
        return "tickwire-me-1"


def store(
    database: Any, meter: Telemetry | None = None, patience_s: float = 60, writer: Writer | None = None
) -> ClickHouseTables:
    return ClickHouseTables(database, NAME, LOG_ID, timedelta(seconds=patience_s), meter=meter, writer=writer)


@pytest.mark.parametrize("failure", [FULL, FULL_ON_WRITE, SILENT, DatabaseError("Too many parts", code=252)])
def test_the_same_block_goes_again_with_the_same_token(failure: Exception) -> None:
    database, telemetry = FailingDatabase([failure] * 3), Telemetry()
    store(database, telemetry).insert(TABLE, block(0), token(0))
    assert database.tried == [token(0)] * 4
    assert sum(database.stored.values()) == ROWS
    told = telemetry.exposition().decode()
    assert f'tickwire_clickhouse_retries_total{{table="{TABLE}"}} 3.0' in told
    assert "tickwire_clickhouse_waiting" in told
    assert not [
        line for line in told.splitlines() if line.startswith("tickwire_clickhouse_waiting{") and line.endswith(" 1.0")
    ]


@pytest.mark.parametrize("code", [164, 497, 516, 242, 60, 81, 16, 53])
def test_what_would_be_refused_again_stops_the_worker_at_once(code: int) -> None:
    database = FailingDatabase([DatabaseError("no", code=code)] * 2)
    with pytest.raises(DatabaseError, match="no"):
        store(database).insert(TABLE, block(0), token(0))
    assert len(database.tried) == 1


def test_silence_stops_the_worker_when_the_patience_is_over_and_a_full_disk_does_not() -> None:
    with pytest.raises(DatabaseUnavailable):
        store(FailingDatabase([SILENT] * 1000), patience_s=0.2).insert(TABLE, block(0), token(0))
    full = FailingDatabase([FULL] * 4)
    store(full, patience_s=0.2).insert(TABLE, block(0), token(0))
    assert sum(full.stored.values()) == ROWS


def test_a_block_that_was_acknowledged_but_is_not_there_is_stored_under_another_token() -> None:
    database, telemetry = FailingDatabase([SILENT], loses=True), Telemetry()
    store(database, telemetry).insert(TABLE, block(0), token(0))
    assert database.tried == [token(0), token(0), f"{token(0)}/1"]
    assert database.stored == {token(0): 0, f"{token(0)}/1": ROWS}
    assert f'tickwire_clickhouse_restored_total{{table="{TABLE}"}} 1.0' in telemetry.exposition().decode()


def test_the_first_block_of_a_process_is_looked_for_though_its_token_was_acknowledged_at_once() -> None:
    database, telemetry = FailingDatabase([], stored={token(0): 0}), Telemetry()  # of an engine that was killed
    stored = store(database, telemetry, writer=Alone())
    stored.insert(TABLE, block(0), token(0))
    assert database.tried == [token(0), f"{token(0)}/1"]
    assert sum(database.stored.values()) == ROWS
    assert f'tickwire_clickhouse_restored_total{{table="{TABLE}"}} 1.0' in telemetry.exposition().decode()


def test_only_the_first_block_of_a_table_and_partition_is_looked_for() -> None:
    database = FailingDatabase([])
    stored = store(database, writer=Alone())
    for first in (0, ROWS, 2 * ROWS):
        stored.insert(TABLE, block(first), token(first))
    assert database.counted == 1
    other = np.full(ROWS, 1, np.uint16)
    for _ in range(2):
        stored.insert(TABLE, {**block(0), "src_partition": other}, "log/1:0-49x50")
    assert database.counted == 2
    store(unwatched := FailingDatabase([])).insert(TABLE, block(0), token(0))
    assert unwatched.counted == 0, "without a writer nobody was there before"


def test_who_gives_up_waits_for_nothing_any_more() -> None:
    full = FailingDatabase([FULL] * 1000)
    stored = store(full)
    stored.give_up()
    with pytest.raises(DatabaseError, match="not enough space"):
        stored.insert(TABLE, block(0), token(0))
    assert len(full.tried) == 1


def test_a_block_whose_answer_was_lost_is_not_stored_again_where_its_token_is_forgotten() -> None:
    database = FailingDatabase([SILENT], mute=True)
    store(database).insert(TABLE, block(0), token(0))
    assert database.tried == [token(0)]
    assert sum(database.stored.values()) == ROWS


def test_rows_that_are_there_twice_are_said_loudly(caplog: pytest.LogCaptureFixture) -> None:
    store(FailingDatabase([SILENT], doubles=True)).insert(TABLE, block(0), token(0))
    assert "some are there twice" in caplog.text


def test_a_writer_that_was_taken_over_ends_without_trying_again() -> None:
    database = FailingDatabase([DatabaseError("Constraint `fenced` for table is violated", code=469)])
    with pytest.raises(WriterError, match="another process has become the writer"):
        store(database).insert(TABLE, block(0), token(0))
    assert len(database.tried) == 1


@contextmanager
def real(folder: Path) -> Iterator[Database]:
    with engine(folder) as made:
        database = made.database()
        create_tables(database, NAME, FEATURE_NAMES)
        yield database
        database.close()


@pytest.mark.embedded
def test_a_real_engine_says_that_a_block_was_not_stored_whatever_the_reason(tmp_path: Path) -> None:
    with real(tmp_path) as database:
        database.command(f"ALTER TABLE {NAME}.{TABLE} ADD CONSTRAINT small CHECK src_offset < {ROWS}")
        store(database).insert(TABLE, block(0), token(0))
        with pytest.raises(BackendError, match="small"):
            store(database).insert(TABLE, block(ROWS), token(ROWS))
        database.command(f"DROP TABLE {NAME}.{TABLE} SYNC")
        with pytest.raises(DatabaseError) as gone:
            store(database).insert(TABLE, block(ROWS), token(ROWS))
        assert gone.value.code == 60
