"""What the embedded engine answers to an INSERT is what became of it."""

from collections.abc import Iterator

import numpy as np
import pytest

from infra.clickhouse import Database
from infra.embedded.chdb_engine import HELD_IN_MEMORY
from schemas.errors import DatabaseError
from tests.infra.engine import engine

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with engine(tmp_path_factory.mktemp("inserts")) as made:
        database = made.database()
        yield database
        database.close()


def test_a_block_that_a_constraint_refuses_is_an_error_and_not_a_silence(database: Database) -> None:
    database.command("CREATE TABLE refused (i UInt32, CONSTRAINT low CHECK i < 5) ENGINE = MergeTree ORDER BY i")
    with pytest.raises(DatabaseError) as error:
        database.insert("refused", {"i": [1, 7]})
    assert error.value.code == 469
    assert database.insert("refused", {"i": [1, 2]}) == 2
    assert database.rows("SELECT count() FROM refused").rows == [(2,)]


def test_a_block_that_does_not_fit_into_memory_goes_through_a_file(database: Database) -> None:
    database.command("CREATE TABLE large (i UInt64) ENGINE = MergeTree ORDER BY i")
    rows = HELD_IN_MEMORY // 8 + 100_000
    assert database.insert("large", {"i": np.arange(rows)}) == rows
    assert database.rows("SELECT count(), sum(i) FROM large").rows == [(rows, rows * (rows - 1) // 2)]


def test_settings_behind_an_insert_hold(database: Database) -> None:
    database.command("CREATE TABLE settings (i UInt32, settings UInt32) ENGINE = MergeTree ORDER BY i")
    database.command("INSERT INTO settings (i, settings) SETTINGS max_threads = 1 VALUES (1, 2)")
    database.command("INSERT INTO settings SETTINGS max_threads = 1 FORMAT TabSeparated\n3\t4\n")
    assert database.rows("SELECT * FROM settings ORDER BY i").rows == [(1, 2), (3, 4)]
