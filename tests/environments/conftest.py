"""The environments, and the mark of the tests that need them: making one takes a minute, importing from it seconds."""

from pathlib import Path

import pytest

from tests.environments.environment import environment


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_environment: makes a virtual environment of its own from PyPI")


@pytest.fixture(scope="session")
def airflow_python() -> Path:
    return environment("airflow")


@pytest.fixture(scope="session")
def evidently_python() -> Path:
    return environment("evidently")


@pytest.fixture(scope="session")
def aws_python() -> Path:
    return environment("aws")
