"""Embedded services for the fault matrix, started once, each behind a proxy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.services import embedded_services
from tests.faults.matrix.stage import Scoring, Services, Stage, proxied


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with embedded_services(tmp_path_factory.mktemp("matrix")) as embedded, proxied(embedded) as made:
        yield made


@pytest.fixture
def stage(services: Services, tmp_path: Path) -> Iterator[Stage]:
    """A log and a history of this test's own."""
    made = Stage(services, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A log and a history for all tests of a module, which must not ask for `stage` as well."""
    made = Stage(services, tmp_path_factory.mktemp("shared"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def live(shared: Stage) -> Iterator[Scoring]:
    """The scoring process on the module's log."""
    with shared.scores() as made:
        yield made
