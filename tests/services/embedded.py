"""The embedded Kafka, Redis and ClickHouse, started once for all tests that ask for them."""

from collections.abc import Iterator

import pytest

from infra.embedded.services import Embedded, embedded_services


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """`.kafka` (bootstrap servers), `.redis_url`, `.clickhouse_url`, `.log_id`; shared: use names of your own."""
    with embedded_services(tmp_path_factory.mktemp("embedded")) as services:
        yield services
