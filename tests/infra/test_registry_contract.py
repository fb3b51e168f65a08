"""One contract for every registry: the one in memory that other tests use, MLflow on SQLite, and a real MLflow server."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.registry import MlflowRegistry, place_of
from models.registry import Registry, Run
from schemas.errors import ModelError
from tests.infra.registries import ListRegistry, run_of
from tests.services.mlflow_server import mlflow_server

__all__ = ["mlflow_server"]
KINDS = [
    "memory",
    pytest.param("sqlite", marks=[pytest.mark.embedded, pytest.mark.timeout(600)]),
    pytest.param("server", marks=[pytest.mark.embedded, pytest.mark.timeout(1200)]),
]


@pytest.fixture(params=KINDS)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ListRegistry | MlflowRegistry]:
    if request.param == "memory":
        yield ListRegistry()
    else:
        url = SecretStr(request.getfixturevalue("mlflow_server")) if request.param == "server" else None
        yield MlflowRegistry(place_of(tmp_path, url), timeout_s=300)


def reported(bias: float, **metrics: float) -> Run:
    run = run_of(bias, **metrics)
    return Run(run.manifest, run.content, {"seed": "7"}, run.metrics, {"report.html": b"<p>told</p>"})


def test_what_is_logged_is_given_back_by_version_alias_and_id(registry: ListRegistry | MlflowRegistry) -> None:
    port: Registry = registry
    fine, better = reported(0.25, log_loss=0.69), reported(0.5, log_loss=0.68)
    first, second = port.log(fine), port.log(better)
    assert port.log(fine) == first
    port.alias("champion", first)
    port.alias("champion", second)
    for wanted, version, run in ((first, first, fine), ("champion", second, better), (fine.manifest.id, first, fine)):
        fetched = port.fetch(wanted)
        assert (fetched.version, fetched.manifest, fetched.content) == (version, run.manifest, run.content)
    told = registry.versions()
    assert [(each.version, each.model_id, each.aliases) for each in told] == [
        (second, better.manifest.id, ("champion",)), (first, fine.manifest.id, ()),
    ]  # fmt: skip
    assert [each.metrics for each in told] == [{"log_loss": 0.68}, {"log_loss": 0.69}]
    assert {(each.kind, each.trained_on) for each in told} == {("logistic", "2,000 events of 1 partitions, log log-1")}


def test_what_is_not_there_is_refused(registry: ListRegistry | MlflowRegistry) -> None:
    with pytest.raises(ModelError):
        registry.fetch(uuid.uuid4().hex)
    with pytest.raises(ModelError):
        registry.alias("champion", "977")
