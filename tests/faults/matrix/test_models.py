"""Rows 38 and 40 of the fault matrix: a model file that is damaged or gone, and a device that is not there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infra.composition import model_path
from infra.settings import Settings
from models.manifest import About, Label, Span, TrainedOn
from models.training import TrainingSettings, train
from processors.features import FEATURE_NAMES, FEATURES_ID
from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import Stage
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(150)]
MARKET = Market(seed=29)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that may score: trained on noise, which is enough here."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2_000, len(FEATURE_NAMES)))
    about = About(
        features=FEATURE_NAMES, features_id=FEATURES_ID, label=Label(horizon_s=10.0), created_by="tests",
        trained_on=TrainedOn(log_id="none", spans=(Span(partition=0, start=0, end=1),)),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models")
    labels = (features[:, 0] > 0).astype(np.float64)
    train(features, labels, about, settings=TrainingSettings(epochs=2)).save(folder)
    return folder


def place(model: Path, stage: Stage) -> Path:
    """A copy of it where the scoring process looks; the manifest."""
    manifest = model_path(Settings(data=stage.folder / "data"))
    shutil.rmtree(manifest.parent, ignore_errors=True)
    shutil.copytree(model, manifest.parent)
    return manifest


def contents(manifest: Path) -> list[Path]:
    return list(manifest.parent.glob("*.onnx"))


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["a flipped bit", "gone"])
def test_a_damaged_model_is_refused_at_the_start_by_its_name(
    shared: Stage, model: Path, damage: Callable[[Path], None]
) -> None:
    manifest = place(model, shared)
    (content,) = contents(manifest)
    damage(content)
    scoring = shared.scoring()
    scoring.start()
    assert scoring.code(60) == 1
    (line,) = [line for line in scoring.said().splitlines() if line.startswith("error: ")]
    assert content.name in line or str(manifest) in line
    assert shared.committed() == 0


def test_a_manifest_that_is_none_is_refused_at_the_start_by_its_name(shared: Stage, model: Path) -> None:
    manifest = place(model, shared)
    cut(manifest)
    scoring = shared.scoring()
    scoring.start()
    assert scoring.code(60) == 1
    assert str(manifest) in scoring.said()


def test_cuda_where_there_is_none_is_refused_at_the_start_and_said(shared: Stage, model: Path) -> None:
    place(model, shared)
    scoring = shared.scoring(TICKWIRE_MODELS__PROVIDER="cuda")
    scoring.start()
    assert scoring.code(60) == 1
    (line,) = [line for line in scoring.said().splitlines() if line.startswith("error: ")]
    assert "cuda" in line.lower()


def test_a_model_that_is_damaged_while_it_scores_goes_on_scoring(shared: Stage, model: Path) -> None:
    manifest = place(model, shared)
    unscored = "SELECT countIf(isNull(onnx)) FROM {db}.predictions"
    with shared.scores() as scoring:
        status = shared.status()
        assert status is not None
        assert status.models["onnx"] != "none"
        assert status.provider == "cpu"
        for content in contents(manifest):
            flip(content)
        manifest.unlink()
        shared.write(MARKET.more(1_000))
        until("rows", lambda: shared.committed() > 500, within_s=40)
        assert scoring.alive()
        assert shared.rows(unscored) == [(0,)]
