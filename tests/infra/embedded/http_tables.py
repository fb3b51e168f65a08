"""Tables for tests of the HTTP interface, and what the engine is doing."""

from tests.infra.embedded.conftest import ClickHouse

TOO_SLOW = (
    "SELECT sum(number) FROM numbers(100000000000) "
    "SETTINGS max_execution_time = 0.2, timeout_before_checking_execution_speed = 0"
)


def table(clickhouse: ClickHouse, name: str, columns: str = "a UInt32, b String") -> str:
    """A fresh table in database `http`."""
    clickhouse.run("CREATE DATABASE IF NOT EXISTS http")
    clickhouse.run(
        f"CREATE OR REPLACE TABLE http.{name} ({columns}) ENGINE = MergeTree ORDER BY tuple() "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    return f"http.{name}"


def running(clickhouse: ClickHouse) -> str:
    return clickhouse.run("SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%'")
