"""Training: the same rows give the same file, the file gives scikit-learn's scores, and the metrics are honest."""

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from models.manifest import About
from models.model import Matrix
from models.onnx import OnnxModel
from models.training import TrainedModel, TrainingSettings, train
from schemas.errors import TrainingError
from tests.models.rows import ABOUT, NAMES, best, log_loss, market

ROOT = Path(__file__).parents[2]
QUICK = TrainingSettings(epochs=5)
ON_CUDA = {"IsNaN", "Where", "Sub", "Mul", "Clip", "Cast", "MatMul", "Gemm", "Add", "Relu", "Sigmoid"}


def about(width: int) -> About:
    return msgspec.structs.replace(ABOUT, features=NAMES[:width])


def loaded(model: TrainedModel, directory: Path) -> OnnxModel:
    return OnnxModel.load(model.save(directory), expected_features=model.manifest.features, expected_features_id="9f3c")


def test_it_learns_what_there_is_to_learn_and_says_how_well(tmp_path: Path) -> None:
    features, labels = market(12_000, missing=0.01)
    trained = train(features, labels, ABOUT)
    metrics = trained.manifest.metrics
    assert metrics is not None
    unseen, truth = market(4000, seed=77)
    reached = log_loss(loaded(trained, tmp_path).score(unseen), truth)
    assert reached < log_loss(best(unseen), truth) + 0.05
    assert metrics.log_loss == pytest.approx(reached, abs=0.06)
    assert metrics.log_loss < metrics.base_log_loss


def test_metrics_are_those_of_the_newest_rows_which_nothing_was_fitted_to(tmp_path: Path) -> None:
    features, labels = market(2000)
    trained = train(features, labels, ABOUT, settings=QUICK)
    metrics = trained.manifest.metrics
    assert metrics is not None
    assert (metrics.rows_fitted, metrics.rows_validated, metrics.rows_tested) == (1400, 300, 300)
    p, truth = loaded(trained, tmp_path).score(features[1700:]), labels[1700:]
    assert metrics.log_loss == pytest.approx(log_loss(p, truth), rel=1e-12)
    assert metrics.accuracy == pytest.approx(((p > 0.5) == (truth == 1.0)).mean())
    assert metrics.base_rate == pytest.approx(truth.mean())
    assert metrics.base_log_loss == pytest.approx(log_loss(np.full(300, labels[:1400].mean()), truth))


def test_the_newest_rows_have_no_influence_on_the_network() -> None:
    features, labels = market(2000)
    altered, otherwise = features.copy(), labels.copy()
    altered[1700:], otherwise[1700:] = -altered[1700:], 1.0 - otherwise[1700:]
    assert (
        train(features, labels, ABOUT, settings=QUICK).content
        == train(altered, otherwise, ABOUT, settings=QUICK).content
    )


def test_noise_is_reported_as_noise() -> None:
    features, _ = market(4000)
    labels = (np.random.default_rng(5).random(4000) < 0.5).astype(np.float64)
    metrics = train(features, labels, ABOUT).manifest.metrics
    assert metrics is not None
    assert metrics.log_loss > metrics.base_log_loss - 0.01
    assert 0.44 < metrics.accuracy < 0.56


PROGRAM = """
import sys
from models.training import TrainingSettings, train
from tests.models.rows import ABOUT, market
features, labels = market(2000, missing=0.05)
model = train(features, labels, ABOUT, seed=4, settings=TrainingSettings(epochs=5))
sys.stdout.write(f"{model.manifest.id} {model.manifest.sha256}")
"""


def test_the_same_rows_and_seed_give_the_same_bytes_in_every_process() -> None:
    features, labels = market(2000, missing=0.05)
    first, second = (train(features, labels, ABOUT, seed=4, settings=QUICK) for _ in range(2))
    assert first == second
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120, cwd=ROOT
    )
    assert found.stdout == f"{first.manifest.id} {hashlib.sha256(first.content).hexdigest()}"


def test_another_seed_gives_another_model() -> None:
    features, labels = market(1000)
    assert len({train(features, labels, ABOUT, seed=seed, settings=QUICK).manifest.id for seed in (0, 1)}) == 2


def test_when_it_was_made_is_told_and_does_not_change_what_it_is() -> None:
    features, labels = market(1000)
    dated = msgspec.structs.replace(ABOUT, created_ns=1_700_000_000_000_000_000)
    one, other = train(features, labels, ABOUT, settings=QUICK), train(features, labels, dated, settings=QUICK)
    assert one.content == other.content
    assert one.manifest.id == other.manifest.id
    assert other.manifest.created_ns == 1_700_000_000_000_000_000


def test_the_graph_holds_only_operators_that_run_on_cuda() -> None:
    features, labels = market(1000)
    model = onnx.load_from_string(train(features, labels, ABOUT, settings=QUICK).content)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= ON_CUDA
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 18)}


def test_constant_empty_and_absurd_columns_are_carried_without_harm(tmp_path: Path) -> None:
    features, labels = market(2000)
    features[:, 1], features[:, 2], features[:, 3] = 1_000_000.1, np.nan, np.inf
    features[::100, 4], features[7, 5], features[9, 6], features[:, 8] = 1e300, -1e300, np.inf, 1e300
    model = loaded(train(features, labels, ABOUT, settings=QUICK), tmp_path)
    scores = model.score(features)
    assert ((scores > 0.0) & (scores < 1.0)).all()
    probed = np.repeat(features[:1], 5, axis=0)
    probed[1:, [1, 2, 3, 8]] = [[0.0] * 4, [1e300] * 4, [np.nan] * 4, [-1e9] * 4]
    assert len(set(model.score(probed).tolist())) == 1  # what never varied has no say


def test_one_absurd_print_does_not_flatten_its_column(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 2)) * 1e-4
    labels = (features[:, 0] > 0).astype(np.float64)
    features[11, 0] = 9.0
    model = loaded(train(features, labels, about(2)), tmp_path)
    assert ((model.score(features[3000:]) > 0.5) == (labels[3000:] == 1.0)).mean() > 0.95


def test_a_rare_event_is_not_taken_for_a_constant(tmp_path: Path) -> None:
    features = np.zeros((6000, 1))
    features[::1500, 0] = 1.0
    labels = np.tile([0.0, 1.0], 3000)
    model = loaded(train(features, labels, about(1)), tmp_path)
    assert len(set(model.score(np.array([[0.0], [1.0]])).tolist())) == 2


def test_a_large_level_with_small_moves_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    features = 50_000.0 + rng.normal(size=(2000, 3))
    labels = (features[:, 0] > 50_000.0).astype(np.float64)
    metrics = train(features, labels, about(3)).manifest.metrics
    assert metrics is not None
    assert metrics.largest_difference < 1e-5
    assert metrics.accuracy > 0.9


def test_progress_is_told_after_every_epoch() -> None:
    told: list[tuple[int, int, float]] = []
    features, labels = market(1000)
    trained = train(features, labels, ABOUT, settings=QUICK, on_progress=lambda *step: told.append(step))
    assert [(epoch, epochs) for epoch, epochs, _ in told] == [(n, 5) for n in range(1, 6)]
    assert all(0.0 < loss < 2.0 for _, _, loss in told)
    assert trained.manifest.metrics is not None
    assert trained.manifest.metrics.epochs == 5


def test_it_stops_when_the_validation_rows_no_longer_improve() -> None:
    features, _ = market(1000)
    labels = (np.random.default_rng(5).random(1000) < 0.5).astype(np.float64)
    metrics = train(features, labels, ABOUT, settings=TrainingSettings(epochs=500, patience=3)).manifest.metrics
    assert metrics is not None
    assert metrics.epochs < 100


def test_more_rows_than_wanted_are_thinned_evenly_in_time() -> None:
    features, labels = market(3000)
    settings = msgspec.structs.replace(QUICK, max_rows=1000)
    thinned = train(features, labels, ABOUT, settings=settings)
    assert thinned.content == train(features[::3], labels[::3], ABOUT, settings=settings).content
    assert thinned.manifest.metrics is not None
    assert thinned.manifest.metrics.rows_given == 3000


def test_rows_whose_label_reaches_over_a_border_are_left_out() -> None:
    features, labels = market(2000)
    settings = msgspec.structs.replace(QUICK, purge_rows=50)
    purged = train(features, labels, ABOUT, settings=settings)
    metrics = purged.manifest.metrics
    assert metrics is not None
    assert (metrics.rows_fitted, metrics.rows_validated, metrics.rows_tested, metrics.rows_purged) == (
        1350,
        250,
        300,
        100,
    )
    altered = features.copy()
    altered[1350:1400], altered[1650:1700] = 0.0, 0.0
    assert train(altered, labels, ABOUT, settings=settings).content == purged.content
    with pytest.raises(TrainingError, match="give at least 2800 rows"):
        train(features, labels, ABOUT, settings=msgspec.structs.replace(QUICK, purge_rows=200))


def refusal(features: Matrix, labels: np.ndarray) -> str:
    with pytest.raises(TrainingError) as caught:
        train(features, labels, ABOUT, settings=QUICK)
    return str(caught.value)


def test_rows_that_cannot_teach_are_refused_with_the_reason() -> None:
    features, labels = market(1000)
    assert "at least 500 rows, got 499" in refusal(features[:499], labels[:499])
    assert "at least 500 rows, got 0" in refusal(features[:0], labels[:0])
    assert "all 700 rows to be fitted are up" in refusal(features, np.ones(1000))
    assert "all 700 rows to be fitted are down" in refusal(features, np.concatenate([np.zeros(900), np.ones(100)]))
    assert "expected a matrix [n, 32]" in refusal(features[:, :31], labels)
    assert "got (1000, 32) and (999,)" in refusal(features, labels[:999])
    labels[5] = np.nan
    assert "row 5 has nan" in refusal(features, labels)


def test_the_manifest_says_what_it_was_told_and_what_it_is() -> None:
    features, labels = market(1000)
    trained = train(features, labels, ABOUT, settings=QUICK)
    manifest = trained.manifest
    assert (manifest.trained_on, manifest.label, manifest.created_by) == (
        ABOUT.trained_on,
        ABOUT.label,
        "tickwire 0.1.0",
    )
    assert (manifest.features, manifest.features_id, manifest.kind) == (NAMES, "9f3c", "mlp")
    assert (manifest.sha256, manifest.size) == (hashlib.sha256(trained.content).hexdigest(), len(trained.content))
    assert manifest.file == f"mlp-{manifest.sha256[:12]}.onnx"
