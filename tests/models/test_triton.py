"""An exported repository is what Triton's own schema says, and its file scores the canary."""

import importlib.util
import os
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import tritonclient
from google.protobuf import text_format
from onnx import helper

from models import manifest as manifests
from models.onnx import TOLERANCE, OnnxModel, open_session, run
from models.triton import Serving, export
from schemas.errors import ModelError
from tests.infra.served_models import ROWS, answers, save_logistic, save_network
from tests.models.rows import NAMES, described, graph, logistic


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """NVIDIA's `model_config.proto`, as its client ships it for gRPC; without gRPC's own package."""
    path = Path(tritonclient.__path__[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(schema: ModuleType, model: Path) -> Any:
    """The parsed configuration; a field that Triton does not know is an error."""
    return text_format.Parse((model / "config.pbtxt").read_text("ascii"), schema.ModelConfig())


def current(directory: Path, name: str = "mine") -> Path:
    return directory / manifests.manifest_name(name)


def test_a_repository_is_laid_out_as_triton_wants_it_and_its_file_scores_the_canary(
    schema: ModuleType, tmp_path: Path
) -> None:
    manifest = save_network(tmp_path / "models")
    target = export(current(tmp_path / "models", "mlp"), tmp_path / "repository")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "repository").rglob("*")) == [
        "repository/mlp", "repository/mlp/1", "repository/mlp/1/model.onnx", "repository/mlp/config.pbtxt",
    ]  # fmt: skip
    config = config_of(schema, tmp_path / "repository" / "mlp")
    assert (config.name, config.backend, config.default_model_filename) == ("mlp", "onnxruntime", "model.onnx")
    assert config.name == target.parent.name  # else Triton refuses the directory
    content = (target / "model.onnx").read_bytes()
    scores = run(open_session(content), manifest.canary.rows())
    assert np.abs(scores - np.array(manifest.canary.p_up)).max() <= TOLERANCE


def test_the_configuration_says_what_the_file_takes_and_gives(schema: ModuleType, tmp_path: Path) -> None:
    manifest = save_network(tmp_path / "models")
    export(current(tmp_path / "models", "mlp"), tmp_path)
    config = config_of(schema, tmp_path / "mlp")
    model = onnx.load_from_string((tmp_path / "mlp/1/model.onnx").read_bytes())
    (taken,), (given,) = model.graph.input, model.graph.output
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [
        (taken.name, schema.TYPE_FP32, [taken.type.tensor_type.shape.dim[1].dim_value])
    ]
    assert [(one.name, one.data_type, list(one.dims)) for one in config.output] == [
        (given.name, schema.TYPE_FP32, [given.type.tensor_type.shape.dim[1].dim_value])
    ]
    assert (config.max_batch_size, config.dynamic_batching.max_queue_delay_microseconds) == (4_096, 200)
    assert config.version_policy.latest.num_versions == 1
    told = {key: value.string_value for key, value in config.parameters.items()}
    assert told == {
        "tickwire_id": manifest.id, "tickwire_sha256": manifest.sha256, "tickwire_features_id": "9f3c",
        "tickwire_features": ",".join(NAMES), "intra_op_thread_count": "1", "inter_op_thread_count": "1",
    }  # fmt: skip


@pytest.mark.parametrize(("device", "kind"), [("cpu", "KIND_CPU"), ("gpu", "KIND_GPU")])
def test_the_configuration_says_how_triton_is_to_run_it(
    schema: ModuleType, tmp_path: Path, device: Any, kind: str
) -> None:
    save_logistic(tmp_path / "models")
    serving = Serving(device=device, instances=3, max_batch_size=64, queue_delay_us=0)
    export(current(tmp_path / "models"), tmp_path, serving=serving)
    config = config_of(schema, tmp_path / "mine")
    kinds = schema.ModelInstanceGroup.Kind
    assert [(kinds.Name(one.kind), one.count) for one in config.instance_group] == [(kind, 3)]
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (64, True)


@pytest.mark.parametrize(("outputs", "dims", "reshape"), [([None], [1], []), ([None, 2], [2], None)])
def test_every_output_that_a_model_may_have_is_said_with_its_shape(
    schema: ModuleType, tmp_path: Path, outputs: list[int | None], dims: list[int], reshape: list[int] | None
) -> None:
    weights = {"w": np.array([[0.0, 1.0], [0.0, -2.0], [0.0, 0.5]]), "b": np.array([0.0, 0.25])}
    nodes = [helper.make_node("Gemm", ["features", "w", "b"], ["logit"])]
    last = "p_up" if len(outputs) == 2 else "both"
    nodes.append(helper.make_node("Softmax", ["logit"], [last]))
    if len(outputs) == 1:
        nodes.append(helper.make_node("Gather", ["both", "one"], ["p_up"], axis=1))
    made = onnx.load_from_string(graph(nodes, outputs=outputs, weights=weights))
    made.graph.initializer.append(helper.make_tensor("one", onnx.TensorProto.INT64, [], [1]))
    content = made.SerializeToString()
    path = manifests.save(described(content, ROWS, answers(ROWS)), content, tmp_path / "models")
    export(path, tmp_path)
    (output,) = config_of(schema, tmp_path / "mine").output
    assert list(output.dims) == dims
    assert (list(output.reshape.shape) if output.HasField("reshape") else None) == reshape


def test_names_with_every_sign_come_back_as_they_are(schema: ModuleType, tmp_path: Path) -> None:
    path = current(tmp_path / "models")
    manifest = save_logistic(tmp_path / "models")
    odd = ('a"} backend: "evil', "b\\\n\t#", "ü€𝄞")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, features=odd)))
    export(path, tmp_path)
    config = config_of(schema, tmp_path / "mine")
    assert config.parameters["tickwire_features"].string_value == ",".join(odd)
    assert config.backend == "onnxruntime"


def test_another_model_is_the_next_version_and_the_same_one_is_found_again(tmp_path: Path) -> None:
    targets = []
    for bias in (0.25, 1.0, 0.25, 2.0):
        save_logistic(tmp_path / "models", bias)
        targets.append(export(current(tmp_path / "models"), tmp_path).name)
    assert targets == ["1", "2", "1", "3"]
    assert export(current(tmp_path / "models"), tmp_path, version=10).name == "10"
    save_logistic(tmp_path / "models", 3.0)
    assert export(current(tmp_path / "models"), tmp_path).name == "11"
    assert (tmp_path / "mine/1/model.onnx").read_bytes() == logistic(0.25)


def test_a_version_is_never_replaced_by_another_model(tmp_path: Path) -> None:
    save_logistic(tmp_path / "models", 0.25)
    export(current(tmp_path / "models"), tmp_path, version=7)
    before = (tmp_path / "mine/config.pbtxt").read_bytes()
    save_logistic(tmp_path / "models", 1.0)
    with pytest.raises(ModelError, match="mine/7 holds another model; choose another version"):
        export(current(tmp_path / "models"), tmp_path, version=7)
    assert (tmp_path / "mine/7/model.onnx").read_bytes() == logistic(0.25)
    assert (tmp_path / "mine/config.pbtxt").read_bytes() == before
    with pytest.raises(ModelError, match="1 or more, was 0"):
        export(current(tmp_path / "models"), tmp_path, version=0)


def test_a_model_that_must_not_be_used_is_not_exported(tmp_path: Path) -> None:
    manifest = save_logistic(tmp_path / "models")
    (tmp_path / "models" / manifest.file).write_bytes(logistic()[:-1])
    with pytest.raises(ModelError, match="altered or torn"):
        export(current(tmp_path / "models"), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_a_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    path = current(tmp_path / "models")
    manifest = save_logistic(tmp_path / "models")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, name="../../outside")))
    with pytest.raises(ModelError, match="expected the name or id of a model"):
        export(path, tmp_path / "a" / "b")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"device": "tpu"}, "cpu or gpu, got 'tpu'"),
        ({"instances": 0}, "instances must be 1 or more"),
        ({"max_batch_size": 0}, "max_batch_size must be 1 or more"),
        ({"queue_delay_us": -1}, "queue_delay_us must be 0 or more"),
    ],
)
def test_a_way_of_serving_that_cannot_be_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        Serving(**wrong)


def test_who_polls_the_repository_never_sees_half_a_version(tmp_path: Path) -> None:
    save_logistic(tmp_path / "models")
    over, seen = threading.Event(), set()

    def poll() -> None:
        while not over.is_set():
            for version in (tmp_path / "mine").glob("[0-9]*"):
                file = version / "model.onnx"
                seen.add(file.read_bytes() if file.exists() else b"")

    polling = threading.Thread(target=poll)
    polling.start()
    for version in range(1, 40):
        export(current(tmp_path / "models"), tmp_path, version=version)
    over.set()
    polling.join(20)
    assert seen == {logistic()}
    assert not [name for name in os.listdir(tmp_path / "mine") if name.startswith(".")]


def test_the_exported_file_is_the_file_of_the_shelf(tmp_path: Path) -> None:
    save_logistic(tmp_path / "models")
    target = export(current(tmp_path / "models"), tmp_path)
    scores = run(open_session((target / "model.onnx").read_bytes()), np.array(ROWS))
    assert scores.tobytes() == OnnxModel.load(current(tmp_path / "models")).score(np.array(ROWS)).tobytes()
