"""A file that somebody brings: registered if it keeps the contract, else refused with the reason and nothing written."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from models.boosting import BoostingSettings, boost
from models.manifest import About
from models.onnx import OnnxModel
from models.registering import register_file, registered
from schemas.errors import ModelError
from tests.models.datasets import about, dataset
from tests.models.rows import ABOUT, graph, logistic

THREE = msgspec.structs.replace(ABOUT, features=("a", "b", "c"), features_id="abc1", name="mine")
ZERO_NAN = [
    helper.make_node("IsNaN", ["features"], ["gone"]),
    helper.make_node("Where", ["gone", "zero", "features"], ["x"]),
]


def safe(*, bias: float = 0.25) -> bytes:
    """P(up) = sigmoid(x0 - 2 x1 + 0.5 x2 + bias), a missing value as 0."""
    nodes = [*ZERO_NAN, helper.make_node("Gemm", ["x", "w", "b"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p_up"])]
    weights = {"w": np.array([[1.0], [-2.0], [0.5]]), "b": np.array([bias]), "zero": np.zeros(1)}
    return graph(nodes, outputs=[None, 1], weights=weights)


def refusal(content: bytes, told: About = THREE, **options: int) -> str:
    with pytest.raises(ModelError) as caught:
        registered(content, told, **options)
    return str(caught.value)


def test_a_file_that_keeps_the_contract_becomes_a_model(tmp_path: Path) -> None:
    source = tmp_path / "notebook.onnx"
    source.write_bytes(safe())
    path = register_file(source, THREE, tmp_path / "models")
    model = OnnxModel.load(path, expected_features=("a", "b", "c"), expected_features_id="abc1")
    expected = 1 / (1 + np.exp(-(0.3 - 2 * 0.1 + 0.5 * -0.2 + 0.25)))
    assert model.score(np.array([[0.3, 0.1, -0.2]]))[0] == pytest.approx(expected, abs=1e-6)
    assert (model.manifest.kind, model.manifest.opset, model.manifest.name) == ("user", 18, "mine")
    assert np.isnan(model.manifest.canary.rows()).all(axis=1).any()


def test_a_model_of_another_library_is_registered_with_its_own_rows(tmp_path: Path) -> None:
    market = dataset(1_000, hint=0.8)
    rows = market.features[market.moved]
    fitted = make_pipeline(SimpleImputer(), LogisticRegression()).fit(rows, market.label[market.moved].astype(int))
    made = to_onnx(
        fitted, initial_types=[("features", FloatTensorType([None, 5]))], options={"zipmap": False}, target_opset=18
    )
    last = next(node for node in made.graph.node if "probabilities" in node.output)
    last.output[1] = made.graph.output[1].name = "p_up"
    told = about(market)
    path = registered(made.SerializeToString(), told, rows=rows).save(tmp_path)
    expected = fitted.predict_proba(rows.astype(np.float32))[:, 1]
    assert np.abs(OnnxModel.load(path).score(rows) - expected).max() < 1e-5
    trees = boost(dataset(3_000, hint=0.8), told, settings=BoostingSettings(trees=20))
    again = registered(trees.content, told, rows=rows, kind="lightgbm")
    assert again.manifest.sha256 == trees.manifest.sha256
    OnnxModel.load(again.save(tmp_path))


def test_a_score_that_is_no_probability_is_refused() -> None:
    nodes = [*ZERO_NAN, helper.make_node("Gemm", ["x", "w"], ["p_up"])]
    weights = {"w": np.array([[1.0], [-2.0], [0.5]]), "zero": np.zeros(1)}
    assert "a score is a probability between 0 and 1, but" in refusal(graph(nodes, outputs=[None, 1], weights=weights))
    assert "of 3 values missing scores nan" in refusal(logistic())
    with pytest.raises(ModelError, match=r"a row with 3 of 3 values missing scores nan"):
        registered(logistic(), THREE, rows=np.zeros((5, 3)))


def test_a_row_that_is_scored_by_its_neighbours_is_refused() -> None:
    nodes = [
        *ZERO_NAN,
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["apart"]),
        helper.make_node("Gemm", ["apart", "w"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p_up"]),
    ]
    content = graph(nodes, outputs=[None, 1], weights={"w": np.array([[1.0], [-2.0], [0.5]]), "zero": np.zeros(1)})
    model = onnx.load_from_string(content)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "axes"))
    assert "a row's score changes by" in refusal(model.SerializeToString())


def test_another_signature_is_refused_and_told() -> None:
    renamed = onnx.load_from_string(safe())
    renamed.graph.output[0].name = renamed.graph.node[-1].output[0] = "score"
    assert "an output 'p_up'" in refusal(renamed.SerializeToString())
    assert "outputs [('score'" in refusal(renamed.SerializeToString())
    assert "expected one input 'features' of float32 [None, 2]" in refusal(
        safe(), msgspec.structs.replace(THREE, features=("a", "b"))
    )
    fixed = onnx.load_from_string(safe())
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert "expected one input 'features' of float32 [None, 3]" in refusal(fixed.SerializeToString())
    second = onnx.load_from_string(safe())
    second.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [None, 3]))
    assert "expected one input 'features'" in refusal(second.SerializeToString())


def test_tensors_in_other_files_are_refused() -> None:
    model = onnx.load_from_string(safe())
    weight = model.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    assert "keeps tensors in other files" in refusal(model.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"no ONNX at all", b"\x00" * 100])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    told = refusal(content)
    assert told.startswith("mine: ")
    assert "expected" in told or "not an ONNX file" in told


def test_a_torn_file_is_refused() -> None:
    assert refusal(safe()[:-40]).startswith("mine: ")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    assert "expected a file of 1 to 100 bytes" in refusal(safe(), max_bytes=100)
    with pytest.raises(ModelError, match="cannot be read"):
        register_file(tmp_path / "absent.onnx", THREE, tmp_path)


def test_a_name_that_leaves_the_directory_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "models"
    source.write_bytes(safe())
    with pytest.raises(ModelError, match="name or id of a model"):
        register_file(source, msgspec.structs.replace(THREE, name="../evil"), target)
    source.write_bytes(logistic())
    with pytest.raises(ModelError):
        register_file(source, THREE, target)
    assert not target.exists()
