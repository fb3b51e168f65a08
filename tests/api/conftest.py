"""The API with everything that it may have, and a client of it; a test of less has fixtures of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.fakes import World
from tests.api.whole import whole


@pytest.fixture
def everything(tmp_path: Path) -> World:
    return whole(tmp_path)


@pytest.fixture
def client(everything: World) -> Iterator[TestClient]:
    with TestClient(everything.app(), raise_server_exceptions=False) as made:
        yield made
