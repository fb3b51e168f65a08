"""Models in a directory are served as they are now, checked, and to NVIDIA's own client."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

import api.bodies
from infra.models import on_demand
from infra.models.on_demand import OnDemandModels
from infra.telemetry import Telemetry
from models import manifest as manifests
from models.onnx import OnnxModel
from schemas.errors import ModelError
from tests.infra.served_models import (
    ROWS,
    answers,
    models_in,
    save_logistic,
    save_network,
    save_unsure,
    served,
)
from tests.models.rows import NAMES, logistic, market


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("network")
    save_network(directory)
    return directory


@pytest.fixture(scope="module")
def client(network: Path) -> Iterator[triton.InferenceServerClient]:
    with served(models_in(network)) as address, triton.InferenceServerClient(address) as made:
        yield made


def ask(
    client: triton.InferenceServerClient, features: np.ndarray, *, binary: bool, model: str = "mlp", **more: Any
) -> Any:
    """Scores by NVIDIA's client."""
    datatype = {"float32": "FP32", "float64": "FP64"}[features.dtype.name]
    one = triton.InferInput("features", list(features.shape), datatype)
    one.set_data_from_numpy(features, binary_data=binary)
    outputs = [triton.InferRequestedOutput("p_up", binary_data=binary)]
    return client.infer(model, [one], outputs=outputs, **more).as_numpy("p_up")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["float32", "float64"])
def test_nvidias_client_gets_the_very_bits_that_the_scoring_process_computes(
    client: triton.InferenceServerClient, network: Path, binary: bool, datatype: str
) -> None:
    features, _ = market(300, seed=3, missing=0.05)
    features[3] = np.nan
    features = features.astype(datatype)
    expected = OnnxModel.load(network / "mlp.manifest.json").score(features.astype(np.float64))
    found = ask(client, features, binary=binary, request_id="r1")
    assert found.dtype == np.float64
    assert found.tobytes() == expected.tobytes()


def test_nvidias_client_gets_bytes_by_default(client: triton.InferenceServerClient, network: Path) -> None:
    features, _ = market(1, seed=4)
    one = triton.InferInput("features", [1, 32], "FP64")
    one.set_data_from_numpy(features)
    answer = client.infer("mlp", [one], request_id="r2")
    output = answer.get_output("p_up")
    assert (output["parameters"], "data" in output) == ({"binary_data_size": 8}, False)
    assert answer.get_response()["id"] == "r2"
    assert answer.as_numpy("p_up") == OnnxModel.load(network / "mlp.manifest.json").score(features)


def test_nvidias_client_learns_what_there_is(client: triton.InferenceServerClient, network: Path) -> None:
    version = manifests.load(network / "mlp.manifest.json").id.removeprefix("mlp-")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready("mlp")
    assert client.is_model_ready("mlp", version)
    assert not client.is_model_ready("mlp", "1")
    described = client.get_model_metadata("mlp", version)
    assert described["versions"] == [version]
    assert described["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 32]}]
    assert described["parameters"]["features"].split(",") == list(NAMES)


def test_nvidias_client_reads_our_refusals(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"\[404\] no model gru; there are mlp"):
        ask(client, np.zeros((1, 32)), binary=True, model="gru")
    with pytest.raises(InferenceServerException, match=r"\[400\] features: expected shape \[n, 32\], got \[1, 31\]"):
        ask(client, np.zeros((1, 31)), binary=True)
    with pytest.raises(InferenceServerException, match=r"\[413\] features: expected at most 4096 rows, got 4097"):
        ask(client, np.zeros((4097, 32), np.float32), binary=True)
    with pytest.raises(InferenceServerException, match=r"\[404\] POST /v2/repository/index is not served"):
        client.get_model_repository_index()


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.bodies, "BODY_WITHIN_S", 0.05)
    with served(models_in(tmp_path)) as address, socket.create_connection(("127.0.0.1", int(address[10:])), 20) as slow:
        slow.sendall(b"POST /v2/models/mine/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(1_000).startswith(b"HTTP/1.1 408 ")


def test_the_model_that_scores_now_is_the_one_without_a_version(tmp_path: Path) -> None:
    models = models_in(tmp_path)
    assert (models.models(), models.find("mine")) == ({}, None)
    first = save_logistic(tmp_path, 0.25)
    assert models.find("mine").id == first.id  # type: ignore[union-attr]
    second = save_logistic(tmp_path, -1.0)
    names = [one.id.removeprefix("mine-") for one in (first, second)]
    assert sorted(models.models()["mine"]) == sorted(names)
    for version, bias in (("", -1.0), (names[0], 0.25), (names[1], -1.0)):
        found = models.find("mine", version)
        assert found is not None
        assert models.infer(found, np.array(ROWS)) == pytest.approx(answers(ROWS, bias), abs=1e-6)
    manifests.save(first, logistic(0.25), tmp_path)
    assert models.find("mine").id == first.id  # type: ignore[union-attr]


def test_without_a_version_the_model_is_meant_that_the_log_says_scores(tmp_path: Path) -> None:
    first, second = save_logistic(tmp_path, 0.25), save_logistic(tmp_path, -1.0)
    scoring = [first.id]
    models = OnDemandModels(tmp_path, Telemetry(), lambda: scoring[0])
    assert models.find("mine").id == first.id  # type: ignore[union-attr]
    assert models.find("mine", second.id.removeprefix("mine-")).id == second.id  # type: ignore[union-attr]
    for other in ("", "mine-0123456789ab", "mlp-0123456789ab"):  # nothing, or nothing that is here
        scoring[0] = other
        assert models.find("mine").id == second.id  # type: ignore[union-attr]


def test_a_model_that_was_saved_before_models_had_ids_is_served(tmp_path: Path) -> None:
    manifest = save_logistic(tmp_path)
    (tmp_path / manifests.manifest_name(manifest.id)).unlink()
    version = manifest.id.removeprefix("mine-")
    assert models_in(tmp_path).models() == {"mine": [version]}
    assert models_in(tmp_path).find("mine", version) == models_in(tmp_path).find("mine")


def test_a_name_of_which_none_scores_now_means_its_newest_version(tmp_path: Path) -> None:
    manifest = save_logistic(tmp_path)
    (tmp_path / "mine.manifest.json").unlink()
    found = models_in(tmp_path).find("mine")
    assert found is not None
    assert found.id == manifest.id


@pytest.mark.parametrize("name", ["../mine", "mine/../mine", "", ".", "mine\0", "a" * 200, "MINE"])
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    save_logistic(tmp_path)
    (tmp_path / "below").mkdir()
    models = models_in(tmp_path / "below")
    assert models.find(name) is None
    assert models.find("mine", name) is None


def test_a_version_is_not_a_name(tmp_path: Path) -> None:
    manifest = save_logistic(tmp_path)
    assert models_in(tmp_path).find(manifest.id) is None


def test_a_broken_model_is_missed_and_a_broken_version_is_not_offered(tmp_path: Path) -> None:
    manifest = save_logistic(tmp_path)
    old = tmp_path / "mine-000000000000.manifest.json"
    old.write_bytes(b"{}")
    (tmp_path / "torn.manifest.json").write_bytes(b'{"format"')
    models = models_in(tmp_path)
    assert models.models() == {"mine": [manifest.id.removeprefix("mine-")], "torn": []}
    for name, version in (("torn", ""), ("mine", "000000000000")):
        with pytest.raises(ModelError, match="not a model manifest"):
            models.find(name, version)


def test_an_altered_file_is_refused_until_it_is_mended(tmp_path: Path) -> None:
    manifest = save_logistic(tmp_path)
    (tmp_path / manifest.file).write_bytes(b"\0" + logistic()[1:])
    with served(models_in(tmp_path)) as address, triton.InferenceServerClient(address) as client:
        assert not client.is_model_ready("mine")
        assert not client.is_server_ready()
        with pytest.raises(InferenceServerException, match=r"\[503\] this model cannot be used now; our log says why"):
            ask(client, np.array(ROWS), binary=True, model="mine")
        (tmp_path / manifest.file).write_bytes(logistic())
        assert client.is_server_ready()
        assert ask(client, np.array(ROWS), binary=True, model="mine") == pytest.approx(answers(ROWS), abs=1e-6)


def test_a_score_that_is_no_probability_is_not_given_to_anybody(tmp_path: Path) -> None:
    save_unsure(tmp_path)
    models = models_in(tmp_path)
    model = models.find("mine")
    assert model is not None
    with pytest.raises(ModelError, match="expected a probability for row 1, got -1"):
        models.infer(model, np.array([[0.0] * 3, [100.0] * 3]))
    with pytest.raises(ModelError, match="got nan"):
        models.infer(model, np.array([[np.nan] * 3]))


@pytest.mark.parametrize(("limit", "value"), [("KEPT", 2), ("KEPT_BYTES", 2 * len(logistic()) + 1)])
def test_only_some_models_are_kept_and_the_others_are_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    class Counted(OnnxModel):
        loads: ClassVar[list[str]] = []

        @classmethod
        def load(cls, path: Path, **more: Any) -> OnnxModel:
            cls.loads.append(path.name)
            return OnnxModel.load(path, **more)

    monkeypatch.setattr(on_demand, "OnnxModel", Counted)
    monkeypatch.setattr(on_demand, limit, value)
    versions = [save_logistic(tmp_path, bias).id.removeprefix("mine-") for bias in (0.0, 1.0, 2.0)]
    models = models_in(tmp_path)
    for index in (0, 1, 0, 2, 0, 1):  # 2 takes the place of 1, and 1 that of 2
        found = models.find("mine", versions[index])
        assert found is not None
        assert models.infer(found, np.array(ROWS)) == pytest.approx(answers(ROWS, float(index)), abs=1e-6)
    assert [name[5:17] for name in Counted.loads] == [versions[index] for index in (0, 1, 2, 1)]


def test_threads_that_ask_at_once_all_get_their_rows_scores(network: Path) -> None:
    models, features = models_in(network), market(256, seed=8)[0]
    expected = OnnxModel.load(network / "mlp.manifest.json").score(features)
    wrong: list[int] = []

    def score(first: int) -> None:
        for last in range(first + 1, 256, 16):
            model = models.find("mlp")
            assert model is not None
            if models.infer(model, features[first:last]).tobytes() != expected[first:last].tobytes():
                wrong.append(first)

    threads = [threading.Thread(target=score, args=(first,)) for first in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert wrong == []


def test_scoring_is_timed_by_model(tmp_path: Path) -> None:
    manifest, telemetry = save_logistic(tmp_path), Telemetry()
    models = OnDemandModels(tmp_path, telemetry)
    model = models.find("mine")
    assert model is not None
    models.infer(model, np.array(ROWS))
    assert f'tickwire_model_score_seconds_count{{model="{manifest.id}"}} 1.0' in telemetry.exposition().decode()


def test_a_model_that_left_the_disk_is_said_to_be_gone(tmp_path: Path) -> None:
    save_logistic(tmp_path)
    model = models_in(tmp_path).find("mine")
    assert model is not None
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(ModelError, match="is gone from"):
        models_in(tmp_path).infer(model, np.array(ROWS))
