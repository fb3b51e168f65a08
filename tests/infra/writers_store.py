"""An engine of one's own, and in it our tables without a writer and without a row."""

from collections.abc import Iterator

import pytest

from infra.clickhouse import Database
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from tests.infra.engine import NAME, EngineProcess, engine


@pytest.fixture(scope="module")
def writers_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with engine(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture
def writers_store(writers_engine: EngineProcess) -> Iterator[Database]:
    """A database without a writer and without a row."""
    made = writers_engine.database()
    made.command(f"DROP DATABASE IF EXISTS {NAME} SYNC")
    create_tables(made, NAME, FEATURE_NAMES)
    yield made
    made.close()
