"""Commands in another terminal take the services from the running instance, as it was given them."""

from pathlib import Path

import pytest

from infra.instance import EMBEDDED_RETENTION, at
from infra.settings import Settings

ADDRESSES = {"kafka": "h:9092", "clickhouse_url": "http://h:8123", "redis_url": "redis://h:6379", "api_port": "8000"}


@pytest.mark.parametrize("log_file", ["", "/data/kafka/logs.json"])
def test_only_an_embedded_broker_has_a_file_of_logs_and_its_short_retention(log_file: str) -> None:
    kafka = at(Settings(), ADDRESSES | {"log_file": log_file}).kafka
    assert kafka.bootstrap == "h:9092"
    assert kafka.log_file == (Path(log_file) if log_file else None)
    assert kafka.retention == (EMBEDDED_RETENTION if log_file else None)
