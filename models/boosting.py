"""Gradient-boosted trees by LightGBM as one ONNX file: a CPU model, its operators have no CUDA kernel. Needs the extra `train`.

The file does exactly what LightGBM does: thresholds are lowered to the float32 below them, which decides no float32 row
otherwise, and a value that was never missing when the trees grew is filled with its median if it is missing later.
"""

from dataclasses import dataclass
from typing import Final

import lightgbm
import msgspec
import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from models import manifest as manifests
from models.dataset import Dataset
from models.export import IR_VERSION, OPSET
from models.manifest import About, Canary, Metrics
from models.model import Column
from models.onnx import INPUT, OUTPUT, Inputs, narrowed, open_session, run
from models.training import AGREEMENT, TrainedModel, canary_rows, log_loss
from models.walk_forward import split_at
from schemas.errors import TrainingError

ML_OPSET: Final = 3
CONVERTED_OPSET: Final = 15
"""As far as onnxmltools goes; only the tree ensemble is taken from its graph, which is of ML_OPSET."""
FITTED, VALIDATED = 0.7, 0.15
PRESENT: Final = "present"


class BoostingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how the trees grow; small and slow, for a market has little signal and much noise."""

    trees: int = 300
    patience: int = 30
    leaves: int = 15
    fewest_in_leaf: int = 200
    learning_rate: float = 0.03
    columns_a_tree: float = 0.7
    rows_a_tree: float = 0.7
    l2: float = 10.0
    min_rows: int = 500


@dataclass(frozen=True, slots=True)
class _Parts:
    """Of the rows with a direction, in order of time, purged in between."""

    fit: Dataset
    validate: Dataset
    test: Dataset


def boost(dataset: Dataset, about: About, *, seed: int = 0, settings: BoostingSettings | None = None) -> TrainedModel:
    """Trees on the rows of `dataset` that have a direction.

    The oldest 70% are fitted, the next 15% decide how many trees, the newest 15% give the metrics; horizon + one bar is
    purged at both borders. The same rows, settings and seed give the same bytes. Raises TrainingError where the rows cannot
    teach anything, or where ONNX Runtime does not score as LightGBM does (to 1e-5).
    """
    settings = BoostingSettings() if settings is None else settings
    directed = dataset.taken(dataset.moved)
    if tuple(dataset.names) != about.features:
        raise TrainingError(
            f"the dataset's {len(dataset.names)} columns are not the {len(about.features)} of the model"
        )
    if len(directed) < settings.min_rows:
        raise TrainingError(f"boosting needs at least {settings.min_rows} rows with a direction, got {len(directed)}")
    parts = _parts(directed)
    fill = _fill(narrowed(parts.fit.features))
    booster = exact(_grown(parts, fill, settings, seed))
    content = exported(booster, fill)
    session = open_session(content)
    found = run(session, directed.features)
    difference = float(np.abs(found - _predicted(booster, fill, directed)).max())
    if not difference < AGREEMENT:
        raise TrainingError(f"ONNX Runtime differs from LightGBM by {difference:.3g}, allowed is {AGREEMENT:g}")
    rows = canary_rows(directed.features)
    canary = Canary.of(rows, run(session, rows))
    metrics = _metrics(parts, run(session, parts.test.features), len(directed), booster.num_trees(), difference)
    manifest = manifests.describe(content, about, kind="lightgbm", opset=OPSET, canary=canary, metrics=metrics)
    return TrainedModel(content, manifest)


def _parts(directed: Dataset) -> _Parts:
    n = len(directed)
    first, second = int(directed.ts[int(n * FITTED)]), int(directed.ts[int(n * (FITTED + VALIDATED))])
    early, late = split_at(directed, first, until_ns=second), split_at(directed, second)
    validated = np.intersect1d(early.test, late.train)
    if len(validated) == 0:
        raise TrainingError("the purge leaves no rows to validate on; give more history or shorten the horizon")
    parts = _Parts(directed.taken(early.train), directed.taken(validated), directed.taken(late.test))
    ups = parts.fit.label.mean()
    if ups in (0.0, 1.0):
        raise TrainingError(
            f"all {len(parts.fit)} rows to be fitted are {'up' if ups else 'down'}; training needs both"
        )
    return parts


def _fill(rows: Inputs) -> Inputs:
    """float32 [F]: NaN where the trees know missing values, else the median."""
    fill = np.full(rows.shape[1], np.nan, np.float32)
    complete = ~np.isnan(rows).any(axis=0)
    fill[complete] = np.median(rows[:, complete], axis=0)
    return fill


def _filled(rows: Inputs, fill: Inputs) -> Inputs:
    return np.where(np.isnan(rows), fill, rows)


def _grown(parts: _Parts, fill: Inputs, settings: BoostingSettings, seed: int) -> lightgbm.Booster:
    """As many trees as the validation rows bear."""
    chosen = {
        "objective": "binary", "metric": "binary_logloss", "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.fewest_in_leaf, "learning_rate": settings.learning_rate,
        "feature_fraction": settings.columns_a_tree, "bagging_fraction": settings.rows_a_tree, "bagging_freq": 1,
        "lambda_l2": settings.l2, "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": 1,
        "verbosity": -1,
    }  # fmt: skip
    fit = lightgbm.Dataset(_filled(narrowed(parts.fit.features), fill), parts.fit.label, free_raw_data=False)
    validate = lightgbm.Dataset(
        _filled(narrowed(parts.validate.features), fill), parts.validate.label, reference=fit, free_raw_data=False
    )
    stop = lightgbm.early_stopping(settings.patience, verbose=False)
    grown = lightgbm.train(chosen, fit, settings.trees, valid_sets=[validate], callbacks=[stop])
    return lightgbm.Booster(model_str=grown.model_to_string(num_iteration=grown.best_iteration))


def exact(booster: lightgbm.Booster) -> lightgbm.Booster:
    """The same trees with every threshold at the largest float32 not above it: for a float32 x, x <= t as before."""
    lines = []
    for line in booster.model_to_string().split("\n"):
        if line.startswith("threshold="):
            lowered = [_below(float(text)) for text in line.removeprefix("threshold=").split()]
            line = "threshold=" + " ".join(repr(value) for value in lowered)  # noqa: PLW2901
        elif line.startswith("tree_sizes="):  # bytes of each tree, which are others now; it may be left out
            continue
        lines.append(line)
    return lightgbm.Booster(model_str="\n".join(lines))


def _below(threshold: float) -> float:
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


def _predicted(booster: lightgbm.Booster, fill: Inputs, dataset: Dataset) -> Column:
    p: Column = np.asarray(booster.predict(_filled(narrowed(dataset.features), fill), num_threads=1), np.float64)
    return p


def exported(booster: lightgbm.Booster, fill: Inputs) -> bytes:
    """The ONNX file: `features` in, `p_up` `[None, 2]` out (down, up); the same trees give the same bytes."""
    inputs = [(PRESENT, FloatTensorType([None, len(fill)]))]
    made: ModelProto = convert_lightgbm(
        booster, "trees", initial_types=inputs, target_opset=CONVERTED_OPSET, zipmap=False
    )
    nodes = [_renamed(node) for node in made.graph.node if node.op_type == "TreeEnsembleClassifier"]
    if len(nodes) != 1:
        raise TrainingError(f"expected onnxmltools to make one tree ensemble, found {len(nodes)}: another version?")
    before = [
        helper.make_node("IsNaN", [INPUT], ["missing"]),
        helper.make_node("Where", ["missing", "fill", INPUT], [PRESENT]),
    ]
    graph = helper.make_graph(
        [*before, *nodes],
        "tickwire",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(fill)])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(fill, "fill")],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    model.producer_name = "tickwire"
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _renamed(node: NodeProto) -> NodeProto:
    """The ensemble with our name for its probabilities."""
    renamed = NodeProto()
    renamed.CopyFrom(node)
    renamed.name = "trees"
    renamed.output[0], renamed.output[1] = "side", OUTPUT
    renamed.input[0] = PRESENT
    return renamed


def _metrics(parts: _Parts, p: Column, given: int, trees: int, difference: float) -> Metrics:
    label = parts.test.label
    share = float(parts.fit.label.mean())
    fitted, validated, tested = len(parts.fit), len(parts.validate), len(parts.test)
    return Metrics(
        rows_given=given,
        rows_fitted=fitted,
        rows_validated=validated,
        rows_tested=tested,
        rows_purged=given - fitted - validated - tested,
        epochs=trees,
        log_loss=log_loss(p, label),
        accuracy=float(((p > 0.5) == (label == 1.0)).mean()),
        base_rate=float(label.mean()),
        base_log_loss=log_loss(np.full(tested, share), label),
        largest_difference=difference,
    )
