"""Rows and models that the tests of this package share."""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models.manifest import About, Canary, Label, Manifest, Span, TrainedOn, describe
from models.model import Column, Matrix

WIDTH = 32
NAMES = tuple(f"f{index}" for index in range(WIDTH))
CENTRES = np.linspace(-5.0, 5.0, WIDTH)
SCALES = np.logspace(-5.0, 3.0, WIDTH)
ABOUT = About(
    features=NAMES,
    features_id="9f3c",
    trained_on=TrainedOn(log_id="log-1", spans=(Span(partition=0, start=10, end=2010),)),
    label=Label(horizon_s=5.0),
    created_by="tickwire 0.1.0",
)


def market(rows: int, *, seed: int = 0, missing: float = 0.0) -> tuple[Matrix, Column]:
    """Rows of very different scales, and labels that a linear model can learn."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, WIDTH))
    features = z * SCALES + CENTRES
    labels = (rng.random(rows) < best(features)).astype(np.float64)
    features[rng.random(features.shape) < missing] = np.nan
    return features, labels


def best(features: Matrix) -> Column:
    """The probabilities that `market` drew its labels with: no model can do better."""
    weights = np.random.default_rng(99).normal(size=WIDTH) * 0.4
    p: Column = 1.0 / (1.0 + np.exp(-((features - CENTRES) / SCALES @ weights)))
    return p


def log_loss(p: Column, labels: Column) -> float:
    return float(-np.log(np.where(labels == 1.0, p, 1.0 - p)).mean())


def graph(
    nodes: Sequence[NodeProto], *, outputs: Sequence[int | None], weights: dict[str, np.ndarray], width: int = 3
) -> bytes:
    """A model file from nodes that lead from `features` to `p_up`."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("p_up", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def logistic(bias: float = 0.25) -> bytes:
    """P(up) = sigmoid(x0 - 2 x1 + 0.5 x2 + bias)."""
    nodes = [
        helper.make_node("Gemm", ["features", "w", "b"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p_up"]),
    ]
    weights = {"w": np.array([[1.0], [-2.0], [0.5]]), "b": np.array([bias])}
    return graph(nodes, outputs=[None, 1], weights=weights)


def described(content: bytes, rows: Sequence[Sequence[float]], p_up: Sequence[float]) -> Manifest:
    """The manifest of a three-column model with these canary rows."""
    about = About(
        features=("a", "b", "c"),
        features_id="abc1",
        trained_on=ABOUT.trained_on,
        label=ABOUT.label,
        created_by="somebody's notebook",
        name="mine",
    )
    canary = Canary.of(np.array(rows, dtype=np.float64), np.array(p_up))
    return describe(content, about, kind="logistic", opset=18, canary=canary, metrics=None)
