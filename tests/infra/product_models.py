"""Models that take the product's own features: small ones with known scores, and all that may be wrong with one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models import manifest as manifests
from models.manifest import About, Canary, Label, Manifest, TrainedOn, describe
from models.onnx import open_session, run
from processors.features import FEATURE_NAMES, FEATURES_ID
from tests.models.rows import graph

WIDTH = len(FEATURE_NAMES)
ROWS = np.stack([np.zeros(WIDTH), np.linspace(-1.0, 1.0, WIDTH), np.full(WIDTH, np.nan)])
KNOWN = [
    helper.make_node("IsNaN", ["features"], ["missing"]),
    helper.make_node("Where", ["missing", "zero", "features"], ["known"]),
]


def about(name: str = "mine", features_id: str = FEATURES_ID) -> About:
    return About(
        features=FEATURE_NAMES, features_id=features_id, trained_on=TrainedOn(log_id="", spans=()),
        label=Label(horizon_s=10.0), created_by="tests", name=name,
    )  # fmt: skip


def made(nodes: Sequence[NodeProto], **weights: np.ndarray) -> bytes:
    return graph([*KNOWN, *nodes], outputs=[None, 1], weights=weights | {"zero": np.zeros(1)}, width=WIDTH)


def logistic(bias: float = 0.25) -> bytes:
    """P(up) = sigmoid(a little of every feature + bias)."""
    nodes = [
        helper.make_node("Gemm", ["known", "w", "b"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p_up"]),
    ]
    return made(nodes, w=np.full((WIDTH, 1), 0.001), b=np.array([bias]))


def slow(rounds: int) -> bytes:
    """P(up) = 0.5 of every row, after so many rounds of a loop."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["held"], ["passed"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("passed", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Gemm", ["known", "w"], ["start"]),
        helper.make_node("Loop", ["rounds", "always", "start"], ["end"], body=body),
        helper.make_node("Sigmoid", ["end"], ["p_up"]),
    ]
    model = onnx.load_from_string(made(nodes, w=np.zeros((WIDTH, 1))))
    model.graph.initializer.append(numpy_helper.from_array(np.array(rounds, np.int64), "rounds"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    content: bytes = model.SerializeToString()
    return content


def beyond() -> bytes:
    """A score that grows with the features: a probability on the canary, and none where they are large."""
    nodes = [helper.make_node("Gemm", ["known", "w", "b"], ["p_up"])]
    return made(nodes, w=np.full((WIDTH, 1), 0.001), b=np.array([0.5]))


def manifest_of(content: bytes, name: str = "mine", features_id: str = FEATURES_ID) -> Manifest:
    """What its trainer would say of it."""
    canary = Canary.of(ROWS, run(open_session(content), ROWS))
    return describe(content, about(name, features_id), kind="logistic", opset=18, canary=canary, metrics=None)


def save(directory: Path, content: bytes, name: str = "mine") -> Manifest:
    """Into a models directory, as a trainer puts it there: nobody has vetted it."""
    manifest = manifest_of(content, name)
    manifests.save(manifest, content, directory)
    return manifest
