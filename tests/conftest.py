"""Services that tests start themselves, on free ports, and the recordings beside the checkout."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from infra.embedded.services import Embedded
from tests.services.apache_kafka import apache_kafka
from tests.services.clickhouse_server import clickhouse_server
from tests.services.embedded import embedded
from tests.services.valkey import valkey

settings.register_profile("tickwire", deadline=None)
"""How long an example takes is a matter of the machine, and of what is compiled in it."""
settings.load_profile("tickwire")
__all__ = ["apache_kafka", "clickhouse_server", "embedded", "valkey"]


def recordings() -> Path:
    """Where the recordings lie: `TICKWIRE_TEST_DATA`, else `shared/data` beside the checkout."""
    return Path(os.environ.get("TICKWIRE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    path = recordings()
    if not path.is_dir():
        pytest.skip(f"the recordings are not at {path}; name their place in TICKWIRE_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def embedded_kafka(embedded: Embedded) -> str:
    return embedded.kafka
