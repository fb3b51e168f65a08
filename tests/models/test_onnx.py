"""Scoring by ONNX Runtime: only the file that was meant, on the device that was meant, the same bits in every batch."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from models import manifest as manifests
from models.model import Column, Matrix, Model
from models.onnx import TOLERANCE, OnnxModel, open_session
from models.training import TrainedModel, TrainingSettings, train
from schemas.errors import ModelError
from tests.models.rows import ABOUT, NAMES, described, graph, logistic, market

ROWS = ([1.0, 0.5, -2.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0])


def answers(rows: Sequence[Sequence[float]]) -> list[float]:
    return [1.0 / (1.0 + math.exp(-(a - 2.0 * b + 0.5 * c + 0.25))) for a, b, c in rows]


def saved(directory: Path, content: bytes, p_up: Sequence[float] | None = None) -> Path:
    return manifests.save(described(content, ROWS, answers(ROWS) if p_up is None else p_up), content, directory)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    features, labels = market(3000, missing=0.05)
    return train(features, labels, ABOUT, settings=TrainingSettings(epochs=4))


@pytest.fixture(scope="module")
def network(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return OnnxModel.load(trained.save(tmp_path_factory.mktemp("models")), expected_features=NAMES)


def probe(rows: int) -> Matrix:
    features, _ = market(rows, seed=21, missing=0.05)
    features[3], features[4], features[5] = np.nan, np.inf, 1e300
    return features


def in_parts(model: OnnxModel, features: Matrix, size: int) -> Column:
    return np.concatenate([model.score(features[start : start + size]) for start in range(0, len(features), size)])


def test_a_models_scores_are_those_of_its_formula(tmp_path: Path) -> None:
    model: Model = OnnxModel.load(
        saved(tmp_path, logistic()), expected_features=("a", "b", "c"), expected_features_id="abc1"
    )
    scores = model.score(np.array(ROWS))
    assert scores == pytest.approx(answers(ROWS), abs=1e-6)
    assert scores.dtype == np.float64
    assert scores.shape == (3,)
    assert (model.name, model.id[:5]) == ("onnx", "mine-")


def test_it_tells_which_provider_it_runs_on(network: OnnxModel) -> None:
    assert network.provider == "cpu"


@pytest.mark.parametrize("shape", ["[None]", "[None, 1]", "[None, 2]"])
def test_every_documented_output_shape_is_accepted(tmp_path: Path, shape: str) -> None:
    weights = {"w": np.array([[1.0], [-2.0], [0.5]]), "b": np.array([0.25])}
    logit = helper.make_node("Gemm", ["features", "w", "b"], ["logit"])
    flat = [logit, helper.make_node("Sigmoid", ["logit"], ["p"]), helper.make_node("Squeeze", ["p", "axis"], ["p_up"])]
    both = [
        helper.make_node("Gemm", ["features", "w", "b"], ["logit"]),
        helper.make_node("Softmax", ["logit"], ["p_up"]),
    ]
    two = {"w": np.array([[0.0, 1.0], [0.0, -2.0], [0.0, 0.5]]), "b": np.array([0.0, 0.25])}
    if shape == "[None]":
        content = onnx.load_from_string(graph(flat, outputs=[None], weights=weights))
        content.graph.initializer.append(helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]))
        path = saved(tmp_path, content.SerializeToString())
    elif shape == "[None, 1]":
        path = saved(tmp_path, logistic())
    else:
        path = saved(tmp_path, graph(both, outputs=[None, 2], weights=two))
    scores = OnnxModel.load(path).score(np.array(ROWS))
    assert scores == pytest.approx(answers(ROWS), abs=1e-6)
    assert scores.flags.c_contiguous


def test_scores_have_the_same_bits_at_every_batch_size(network: OnnxModel) -> None:
    features = probe(4096)
    whole = network.score(features)
    for size in range(1, 513):
        start = size * 7 % 3000
        assert network.score(features[start : start + size]).tobytes() == whole[start : start + size].tobytes(), size
    for size in (1, 2, 3, 17, 64, 255, 256, 1000, 4095):
        assert in_parts(network, features, size).tobytes() == whole.tobytes(), size


def test_missing_infinite_and_absurd_values_still_give_a_probability(network: OnnxModel) -> None:
    scores = network.score(probe(10))
    assert ((scores > 0.0) & (scores < 1.0)).all()
    assert scores[3] == scores[4]  # an infinity says no more than nothing


def test_nothing_is_kept_of_the_batches_that_it_met() -> None:
    options = open_session(logistic()).get_session_options()
    assert (options.enable_mem_pattern, options.enable_cpu_mem_arena) == (False, False)


def test_an_empty_batch_has_no_scores(network: OnnxModel) -> None:
    assert network.score(np.empty((0, 32))).shape == (0,)


def test_rows_of_another_width_are_refused(network: OnnxModel) -> None:
    with pytest.raises(ModelError, match=r"rows of 32 features, got shape \(4, 31\)"):
        network.score(np.zeros((4, 31)))


def test_a_model_for_other_features_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, logistic())
    with pytest.raises(
        ModelError, match=r"was built on features abc1, but the stream carries 77ab; retrain it or roll"
    ):
        OnnxModel.load(path, expected_features_id="77ab")
    with pytest.raises(ModelError, match="they part at column 1"):
        OnnxModel.load(path, expected_features=("a", "c", "b"))
    with pytest.raises(ModelError, match="takes 3 features, the stream carries 4; they part at column 3"):
        OnnxModel.load(path, expected_features=("a", "b", "c", "d"))


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="larger than the 64 bytes"):
        OnnxModel.load(saved(tmp_path, logistic()), max_bytes=64)


def test_every_flipped_bit_of_the_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    path = saved(tmp_path, logistic())
    file = path.parent / manifests.load(path).file
    for position in range(0, len(logistic()), 3):
        file.write_bytes(flipped(logistic(), position, position % 8))
        with pytest.raises(ModelError, match="altered or torn"):
            OnnxModel.load(path)


def flipped(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def test_a_flipped_bit_that_loads_but_scores_otherwise_is_refused_by_the_canary(
    trained: TrainedModel, tmp_path: Path
) -> None:
    path = trained.save(tmp_path)
    expected = np.array(trained.manifest.canary.p_up)
    refusals: list[str] = []
    for number in range(300):
        position = number * 7919 % len(trained.content)
        content = flipped(trained.content, position, number % 8)
        document = json.loads(path.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
        broken = tmp_path / "broken.manifest.json"
        broken.write_text(json.dumps(document))
        (tmp_path / trained.manifest.file).write_bytes(content)
        try:
            model = OnnxModel.load(broken)
        except ModelError as error:
            refusals.append(str(error))
        else:  # a bit of a name, or of a weight's last digits
            assert np.abs(model.score(model.manifest.canary.rows()) - expected).max() <= TOLERANCE
    assert sum("canary row" in refusal for refusal in refusals) > 30


def test_wrong_canary_scores_are_named(tmp_path: Path) -> None:
    wrong = [*answers(ROWS)[:2], 0.123]
    with pytest.raises(ModelError, match=r"canary row 2 must score 0\.1230000, but scores 0\."):
        OnnxModel.load(saved(tmp_path, logistic(), wrong))


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["features", "one"], ["s"]), helper.make_node("Log", ["s"], ["p_up"])]
    model = onnx.load_from_string(graph(nodes, outputs=[None, 1], weights={}))
    model.graph.initializer.append(helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1]))
    with pytest.raises(ModelError, match="canary row 0 must score"):
        OnnxModel.load(saved(tmp_path, model.SerializeToString()))


def test_a_model_whose_rows_depend_on_each_other_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["features", "zero"], ["mean"]),
        helper.make_node("Sub", ["features", "mean"], ["x"]),
        helper.make_node("Gemm", ["x", "w"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p_up"]),
    ]
    model = onnx.load_from_string(graph(nodes, outputs=[None, 1], weights={"w": np.ones((3, 1))}))
    model.graph.initializer.append(helper.make_tensor("zero", onnx.TensorProto.INT64, [1], [0]))
    with pytest.raises(ModelError, match=r"score changes by .* with its batch"):
        OnnxModel.load(saved(tmp_path, model.SerializeToString(), [0.5, 0.5, 0.5]))


def test_a_model_that_keeps_weights_in_another_file_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(logistic())
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    content = (tmp_path / "m.onnx").read_bytes()
    assert (tmp_path / "weights.bin").stat().st_size > 0
    with pytest.raises(ModelError, match="keeps tensors in other files"):
        OnnxModel.load(saved(tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickle.", logistic()[:60]])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError):
        OnnxModel.load(saved(tmp_path, content))


def test_another_signature_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    renamed = onnx.load_from_string(logistic())
    renamed.graph.node[0].input[0] = renamed.graph.input[0].name = "x"
    fixed = onnx.load_from_string(logistic())
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    wide = graph(
        [helper.make_node("Gemm", ["features", "w"], ["p_up"])], outputs=[None, 3], weights={"w": np.ones((3, 3))}
    )
    for content, message in (
        (renamed.SerializeToString(), r"one input 'features' of float32 \[None, 3\], found \[\('x'"),
        (fixed.SerializeToString(), r"one input 'features' of float32 \[None, 3\]"),
        (wide, "expected an output 'p_up'"),
    ):
        with pytest.raises(ModelError, match=message):
            OnnxModel.load(saved(tmp_path, content))


def test_a_manifest_of_another_width_than_the_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, logistic())
    manifest = manifests.load(path)
    canary = manifests.Canary.of(np.zeros((1, 2)), np.array([0.5]))
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, features=("a", "b"), canary=canary)))
    with pytest.raises(ModelError, match=r"float32 \[None, 2\]"):
        OnnxModel.load(path)
