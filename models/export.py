"""A fitted scikit-learn network, with its preprocessing, as one ONNX file. Needs the extra `train`."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from models.model import Matrix
from models.onnx import INPUT, OUTPUT, Inputs, narrowed
from schemas.errors import TrainingError

OPSET: Final = 18
IR_VERSION: Final = 10
"""Older than the `onnx` package would write, so that the ONNX Runtimes of some years can read it."""
SENSIBLE: Final = 1e12
"""A feature beyond this is a fault, not a value: it never enters a mean or a deviation."""
TAIL: Final = 0.001
NOISE: Final = 1e-6
"""A deviation smaller than this fraction of the mean is float32 rounding: the feature counts as constant."""
SCALED: Final = "scaled"


@dataclass(frozen=True, slots=True)
class Standardiser:
    """(x − mean) · inverse, cut at ±limit, 0 where missing; all in float32, as the graph does it."""

    means: Inputs
    inverse: Inputs
    limit: float

    @classmethod
    def of(cls, features: Matrix, limit: float) -> "Standardiser":
        """Fitted to rows `[n, F]`; a column that is constant or empty scores 0."""
        values = narrowed(features).astype(np.float64)
        values[np.abs(values) > SENSIBLE] = np.nan
        means = np.zeros(features.shape[1], dtype=np.float32)
        inverse = np.zeros(features.shape[1], dtype=np.float32)
        for column in range(features.shape[1]):
            present = values[:, column][~np.isnan(values[:, column])]
            if len(present):
                mean, deviation = _centre_and_scale(present)
                means[column] = mean
                inverse[column] = 1.0 / deviation if deviation > NOISE * abs(mean) else 0.0
        return cls(means, inverse, limit)

    def scores(self, features: Matrix) -> Inputs:
        """Standard scores `[n, F]` of float64 rows."""
        rows = narrowed(features)
        rows = np.where(np.isnan(rows), self.means, rows)
        with np.errstate(over="ignore"):
            scores: Inputs = np.clip(
                (rows - self.means) * self.inverse, np.float32(-self.limit), np.float32(self.limit)
            )
        return scores


def _centre_and_scale(present: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation after cutting the tails, so that one absurd value does not flatten the others."""
    cut = np.clip(present, *np.quantile(present, [TAIL, 1.0 - TAIL]))
    if cut.std() == 0.0:  # a rare event: its tail is all it has
        cut = present
    return float(cut.mean()), float(cut.std())


def export(classifier: Any, standardiser: Standardiser) -> bytes:
    """The ONNX file: `features` in, `p_up` `[None, 1]` out; the same network gives the same bytes.

    Only operators that have a CUDA kernel too: nothing of `ai.onnx.ml`, whose operators run on the CPU alone.
    """
    width = len(standardiser.means)
    network, weights = _network(classifier, width)
    graph = helper.make_graph(
        [*_preprocessing(), *network],
        "tickwire",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        [*_constants(standardiser), *weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "tickwire"
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _constants(standardiser: Standardiser) -> list[TensorProto]:
    values = {
        "means": standardiser.means,
        "inverse": standardiser.inverse,
        "lower": np.array(-standardiser.limit, dtype=np.float32),
        "upper": np.array(standardiser.limit, dtype=np.float32),
    }
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _preprocessing() -> list[NodeProto]:
    return [
        helper.make_node("IsNaN", [INPUT], ["missing"]),
        helper.make_node("Where", ["missing", "means", INPUT], ["present"]),
        helper.make_node("Sub", ["present", "means"], ["centred"]),
        helper.make_node("Mul", ["centred", "inverse"], ["reduced"]),
        helper.make_node("Clip", ["reduced", "lower", "upper"], [SCALED]),
    ]


def _network(classifier: Any, width: int) -> tuple[list[NodeProto], list[TensorProto]]:
    """The nodes from `SCALED` to P(up) that skl2onnx makes, and their weights, without what only labels need."""
    options = {id(classifier): {"zipmap": False}}
    inputs = [(SCALED, FloatTensorType([None, width]))]
    graph = to_onnx(classifier, initial_types=inputs, options=options, target_opset=OPSET, name="network").graph
    ends = [index for index, node in enumerate(graph.node) if node.op_type == "Sigmoid"]
    if len(ends) != 1:
        raise TrainingError(f"expected skl2onnx to end the network in one Sigmoid, found {len(ends)}: another version?")
    nodes = list(graph.node[: ends[0] + 1])
    nodes[-1].output[0] = OUTPUT
    foreign = sorted({node.domain for node in nodes} - {""})
    if foreign:
        raise TrainingError(f"skl2onnx put operators of {foreign} into the network, which CUDA cannot run")
    used = {name for node in nodes for name in node.input}
    return nodes, [weight for weight in graph.initializer if weight.name in used]
