"""Trees as ONNX: the file scores as LightGBM does, to the last threshold, and keeps the contract of a model file."""

from dataclasses import replace
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
import onnx
import pytest

from models.boosting import BoostingSettings, boost, exact, exported
from models.dataset import Dataset
from models.onnx import OnnxModel, narrowed, open_session, run
from models.training import TrainedModel
from schemas.errors import TrainingError
from tests.models.datasets import about, dataset
from tests.models.rows import log_loss

MARKET = dataset(4_000, hint=0.8)
QUICK = BoostingSettings(trees=40)


def boosted(market: Dataset = MARKET, *, seed: int = 0) -> TrainedModel:
    return boost(market, about(market), seed=seed, settings=QUICK)


def loaded(model: TrainedModel, directory: Path) -> OnnxModel:
    return OnnxModel.load(model.save(directory), expected_features=MARKET_NAMES, expected_features_id="9f3c")


MARKET_NAMES = tuple(MARKET.names)


def test_it_learns_what_there_is_and_its_metrics_are_those_of_the_newest_rows(tmp_path: Path) -> None:
    trained = boosted()
    metrics = trained.manifest.metrics
    assert metrics is not None
    directed = MARKET.taken(MARKET.moved)
    newest = directed.taken(slice(len(directed) - metrics.rows_tested, None))
    p = loaded(trained, tmp_path).score(newest.features)
    assert metrics.log_loss == pytest.approx(log_loss(p, newest.label))
    assert metrics.log_loss < metrics.base_log_loss - 0.05
    assert metrics.largest_difference < 1e-5
    assert metrics.rows_fitted + metrics.rows_validated + metrics.rows_tested + metrics.rows_purged == len(directed)
    assert metrics.rows_purged >= 2 * 2 * 60


def test_the_newest_rows_have_no_influence_on_the_trees() -> None:
    newest = np.arange(len(MARKET)) >= 0.87 * len(MARKET)
    altered = replace(MARKET, label=np.where(newest, 1.0 - MARKET.label, MARKET.label))
    assert boosted(altered).content == boosted().content


def test_the_same_rows_and_seed_give_the_same_bytes_and_another_seed_others() -> None:
    assert boosted() == boosted()
    assert boosted(seed=1).manifest.id != boosted().manifest.id


def test_missing_absurd_and_never_before_missing_values_score_as_lightgbm_scores_them(tmp_path: Path) -> None:
    model = loaded(boosted(), tmp_path)
    rows = MARKET.features[:500].copy()
    rows[:100], rows[100:200, 0], rows[200:300] = np.nan, np.nan, 1e300
    scores = model.score(rows)
    assert ((scores > 0.0) & (scores < 1.0)).all()
    median = np.median(narrowed(MARKET.taken(MARKET.moved).features[:, 0:1]))
    filled = rows[100:200].copy()
    filled[:, 0] = median
    assert np.abs(model.score(filled) - scores[100:200]).max() < 0.05  # its median is that of the fitted rows alone


def test_float32_rows_on_either_side_of_every_threshold_are_told_apart_as_by_lightgbm() -> None:
    rng = np.random.default_rng(0)
    features = (1_000.0 + rng.normal(size=(3_000, 3)) * 1e-3).astype(np.float32)  # a few float32 steps wide
    label = (features[:, 0] + features[:, 1] > 2_000.0).astype(np.float64)
    grown = lightgbm.train(
        {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, "num_leaves": 31},
        lightgbm.Dataset(features, label), 30,
    )  # fmt: skip
    values = np.unique(features)
    rows = rng.choice(values, size=(4_000, 3)).astype(np.float32)
    expected = grown.predict(rows, num_threads=1)
    lowered = exact(grown)
    assert np.array_equal(lowered.predict(rows, num_threads=1), expected)
    content = exported(lowered, np.zeros(3, np.float32))
    assert np.abs(run(open_session(content), rows.astype(np.float64)) - expected).max() < 1e-5


def test_the_file_holds_a_tree_ensemble_and_nothing_that_only_labels_need() -> None:
    model = onnx.load_from_string(boosted().content)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["IsNaN", "Where", "TreeEnsembleClassifier"]
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 18), ("ai.onnx.ml", 3)}
    assert boosted().manifest.kind == "lightgbm"


def test_rows_that_cannot_teach_are_refused_with_the_reason() -> None:
    with pytest.raises(TrainingError, match="at least 500 rows with a direction, got"):
        boosted(MARKET.taken(slice(0, 300)))
    with pytest.raises(TrainingError, match="rows to be fitted are up; training needs both"):
        boosted(replace(MARKET, label=np.ones(len(MARKET))))
    with pytest.raises(TrainingError, match="5 columns are not the 4 of the model"):
        boost(MARKET, msgspec.structs.replace(about(MARKET), features=MARKET_NAMES[:4]))
