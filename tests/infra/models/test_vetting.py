"""A model's first meeting: whatever it does to the process that opens it, we are told why it may not score."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infra.models.vetting import Vetting, described
from models import manifest as manifests
from schemas.errors import ModelError
from tests.infra.registries import FEATURES, NAMES, model
from tests.models.rows import ABOUT, WIDTH, graph
from tests.models.rows import described as manifest_of

FINE, CONTENT = model()


def saved(folder: Path, content: bytes = CONTENT) -> Path:
    manifest = FINE if content == CONTENT else manifest_of(content, [[0.0, 0.0, 0.0]], [0.5])
    manifests.save(manifest, content, folder)
    return folder / manifests.manifest_name(manifest.id)


def looping(rounds: int) -> bytes:
    """P(up) = 0.5 of every row, after `rounds` rounds of a loop."""
    scalars = [("round", TensorProto.INT64, []), ("going", TensorProto.BOOL, []), ("held", TensorProto.FLOAT, None)]
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["held"], ["passed"])],
        "body",
        [helper.make_tensor_value_info(*each) for each in scalars],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("passed", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Gemm", ["features", "w"], ["start"]),
        helper.make_node("Loop", ["rounds", "always", "start"], ["end"], body=body),
        helper.make_node("Sigmoid", ["end"], ["p_up"]),
    ]
    made = onnx.load_from_string(graph(nodes, outputs=[None, 1], weights={"w": np.zeros((3, 1))}))
    made.graph.initializer.append(numpy_helper.from_array(np.array(rounds, np.int64), "rounds"))
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    content: bytes = made.SerializeToString()
    return content


def swollen(values: int) -> bytes:
    """P(up) = 0.5 of every row, beside a tensor of so many zeros that it makes and adds up."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Gemm", ["features", "w"], ["start"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["start", "sum"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p_up"]),
    ]
    made = onnx.load_from_string(graph(nodes, outputs=[None, 1], weights={"w": np.zeros((3, 1))}))
    made.graph.initializer.append(numpy_helper.from_array(np.array([values], np.int64), "shape"))
    content: bytes = made.SerializeToString()
    return content


def test_a_model_that_may_score_is_told_its_pace(tmp_path: Path) -> None:
    vetted = Vetting(NAMES, FEATURES, max_row_us=1e9)(saved(tmp_path))
    assert vetted.row_us > 0.0
    assert vetted.batch_row_us > 0.0


def test_a_model_that_is_too_slow_for_the_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{FINE.id}: takes .* µs a row in a batch of 1,024, 0 are allowed"):
        Vetting(NAMES, FEATURES, max_row_us=0.0)(saved(tmp_path))


def test_a_loop_that_ends_is_a_model(tmp_path: Path) -> None:
    assert Vetting(NAMES, FEATURES, max_row_us=1e9)(saved(tmp_path, looping(3))).row_us > 0.0


def test_a_model_that_never_comes_back_is_refused_in_time(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not loaded and scored within 6 s; it would hold up every event"):
        Vetting(NAMES, FEATURES, within_s=6)(saved(tmp_path, looping(2**62)))


def test_a_model_that_wants_all_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"mine-\w+"):
        Vetting(NAMES, FEATURES, memory_bytes=1 << 30)(saved(tmp_path, swollen(1 << 32)))


def test_wrong_answers_and_wrong_features_are_told_as_where_we_score(tmp_path: Path) -> None:
    wrong = saved(tmp_path / "wrong", model(0.5)[1])  # its canary says 0.5 of zeros, it scores otherwise
    with pytest.raises(ModelError, match="canary row 0 must score"):
        Vetting(NAMES, FEATURES)(wrong)
    with pytest.raises(ModelError, match="was built on features abc1, but the stream carries 77ab"):
        Vetting(NAMES, "77ab")(saved(tmp_path))


def test_a_process_that_dies_is_told_with_how_it_ended(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{FINE.id}: the process that tried it (ended with|was ended by)"):
        Vetting(NAMES, FEATURES, memory_bytes=1 << 20)(saved(tmp_path))


def test_a_file_from_elsewhere_gets_its_manifest(tmp_path: Path) -> None:
    weights = {"w": np.full((WIDTH, 1), 0.1)}
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["known"]),
        helper.make_node("Gemm", ["known", "w"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p_up"]),
    ]
    content = graph(nodes, outputs=[None, 1], weights=weights | {"zero": np.zeros(1)}, width=WIDTH)
    file = tmp_path / "theirs.onnx"
    file.write_bytes(content)
    manifest = described(file, ABOUT)
    assert manifest.id == manifests.content_id("mlp", content, ABOUT.features, ABOUT.features_id)
    rows, p_up = np.nan_to_num(manifest.canary.rows()), np.array(manifest.canary.p_up)
    usual = np.abs(rows).max(axis=1) < 1e6
    assert usual.sum() > 3
    logit = np.clip(rows[usual].sum(axis=1) * 0.1, -80.0, 80.0)
    assert p_up[usual] == pytest.approx(1.0 / (1.0 + np.exp(-logit)), abs=1e-4)
    (tmp_path / "theirs.onnx").write_bytes(content[:50])
    with pytest.raises(ModelError, match="mlp"):
        described(file, ABOUT)
