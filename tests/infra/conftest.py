"""Fixtures that only the adapters' tests need."""

from tests.infra.writers_store import writers_engine, writers_store
from tests.services.clickhouse_ways import clickhouse_url, compression, database, gateway_url
from tests.services.valkey import valkey

__all__ = ["clickhouse_url", "compression", "database", "gateway_url", "valkey", "writers_engine", "writers_store"]
