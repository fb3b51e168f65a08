"""Every way to a ClickHouse, as fixtures for the contract suite.

`http` is the embedded engine; `native` is the same engine behind a current native protocol (native_gateway.py); `debian` is
clickhouse-server 18.16 over its own, with a reduced DDL: it has no Bool, no DateTime64, no parameters and no tokens.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.clickhouse import Database, connect
from tests.services.native_gateway import native_gateway

HTTP = pytest.param("http", marks=pytest.mark.embedded)
NATIVE = pytest.param("native", marks=pytest.mark.embedded)
DEBIAN = pytest.param("debian", marks=pytest.mark.clickhouse_server)
CURRENT = pytest.mark.parametrize("way", [HTTP, NATIVE])
EVERY = pytest.mark.parametrize("way", [HTTP, NATIVE, DEBIAN])
DATABASE = "contract"
SYNTAX_ERROR, UNKNOWN_TABLE, NO_SUCH_COLUMN, TYPE_MISMATCH, TOO_OLD = 62, 60, 16, 53, 48


@dataclass(frozen=True)
class Table:
    """A table of one test's own: `i UInt32` and what the test asks for."""

    database: Database
    name: str

    def rows(self, what: str = "*") -> list[tuple[Any, ...]]:
        return self.database.rows(f"SELECT {what} FROM {self.name}").rows


@pytest.fixture(scope="session")
def gateway_url(request: pytest.FixtureRequest) -> Iterator[str]:
    port = urlsplit(request.getfixturevalue("embedded").clickhouse_url).port
    assert port is not None
    with native_gateway(port) as url:
        yield url


@pytest.fixture
def clickhouse_url(way: str, request: pytest.FixtureRequest) -> str:
    if way == "http":
        return str(request.getfixturevalue("embedded").clickhouse_url)
    if way == "native":
        return str(request.getfixturevalue("gateway_url"))
    return str(request.getfixturevalue("clickhouse_server").native_url)


@pytest.fixture
def compression() -> str:
    return "none"


@pytest.fixture
def database(clickhouse_url: str, compression: str) -> Iterator[Database]:
    first = connect(clickhouse_url)
    first.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    first.close()
    made = connect(f"{clickhouse_url}/{DATABASE}", compression=compression, timeout_s=30)
    yield made
    made.close()


def make_table(database: Database, columns: str, settings: str = "") -> Table:
    name = f"t_{uuid.uuid4().hex[:12]}"
    database.command(f"CREATE TABLE {name} (i UInt32, {columns}) ENGINE = MergeTree ORDER BY i {settings}")
    return Table(database, name)
