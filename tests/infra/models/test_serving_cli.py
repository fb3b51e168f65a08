"""`tickwire export-triton` writes a repository and says where."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.cli.serving import export_triton
from infra.settings import Settings
from schemas.errors import ModelError
from tests.infra.served_models import save_logistic
from tests.models.rows import logistic


def export(data: Path, repository: Path, model: str, *, as_json: bool = True, **changes: Any) -> None:
    options = {"device": "cpu", "max_batch_size": 64, "queue_delay_us": 100} | changes
    export_triton(Settings(data=data), repository, model, None, as_json=as_json, **options)


def test_the_model_that_scores_and_an_older_one_by_its_id_are_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = save_logistic(tmp_path / "models", 0.25), save_logistic(tmp_path / "models", 1.0)
    for model, manifest, bias in (("mine", new, 1.0), (old.id, old, 0.25)):
        export(tmp_path, tmp_path / "repository", model)
        told = json.loads(capsys.readouterr().out)
        assert (told["id"], told["model"]) == (manifest.id, "mine")
        assert (Path(told["directory"]) / "model.onnx").read_bytes() == logistic(bias)
    assert told["version"] == 2


def test_a_person_is_told_how_to_serve_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_logistic(tmp_path / "models")
    export(tmp_path, tmp_path / "repository", "mine", as_json=False, device="gpu")
    assert f"tritonserver --model-repository {tmp_path / 'repository'}" in capsys.readouterr().out
    assert "KIND_GPU" in (tmp_path / "repository/mine/config.pbtxt").read_text()


@pytest.mark.parametrize(("model", "says"), [("gru", "cannot be read"), ("../mine", "expected the name or id")])
def test_a_model_that_is_not_there_is_refused(tmp_path: Path, model: str, says: str) -> None:
    save_logistic(tmp_path / "models")
    with pytest.raises(ModelError, match=says):
        export(tmp_path, tmp_path / "repository", model)
    assert not (tmp_path / "repository").exists()
