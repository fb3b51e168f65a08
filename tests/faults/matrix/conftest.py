"""Embedded services for the fault matrix, started once, each behind a proxy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.services import embedded_services
from processors.shard import FoldRules
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
def shared(
    services: Services, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    """A log and a history for all tests of a module, which must not ask for `stage` as well.

    A module's `SETTINGS` are those of its scoring process, its `RULES` what they say.
    """
    settings, rules = getattr(request.module, "SETTINGS", {}), getattr(request.module, "RULES", FoldRules())
    made = Stage(services, tmp_path_factory.mktemp("shared"), settings=settings, rules=rules)
    yield made
    made.close()


@pytest.fixture(scope="module")
def live(shared: Stage) -> Iterator[Scoring]:
    """The scoring process on the module's log."""
    with shared.scores() as made:
        yield made


@pytest.fixture(autouse=True)
def healed(services: Services) -> Iterator[None]:
    """No test leaves a fault to the next one."""
    yield
    services.heal()
