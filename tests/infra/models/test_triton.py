"""A model behind a server of the Open Inference Protocol scores as the file does, or says why it cannot."""

import http.server
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.models.triton import TritonModel
from models.manifest import Manifest
from models.model import Model
from models.onnx import OnnxModel
from schemas.errors import BackendError, ModelError
from tests.api.fakes import serving
from tests.api.predictors import Predicting
from tests.infra.served_models import ROWS, answers, models_in, save_logistic, save_network, served
from tests.models.rows import described, logistic, market


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    directory = tmp_path_factory.mktemp("network")
    return directory, save_network(directory)


@pytest.fixture(scope="module")
def server(network: tuple[Path, Manifest]) -> Iterator[str]:
    with served(models_in(network[0])) as address:
        yield f"http://{address}"


def test_scores_have_the_bits_of_the_file_at_every_batch_size(server: str, network: tuple[Path, Manifest]) -> None:
    directory, manifest = network
    features, _ = market(2_500, seed=5, missing=0.05)
    features[3], features[4], features[5] = np.nan, np.inf, 1e300
    expected = OnnxModel.load(directory / "mlp.manifest.json").score(features)
    with TritonModel.connect(server, manifest, timeout_s=20) as remote:
        model: Model = remote
        assert (model.name, model.id) == ("triton", manifest.id)
        assert model.score(features).tobytes() == expected.tobytes()  # more rows than one request takes
        for size in (1, 2, 63, 1_024, 1_025):
            assert model.score(features[7 : 7 + size]).tobytes() == expected[7 : 7 + size].tobytes(), size
        assert model.score(np.empty((0, 32))).shape == (0,)
        with pytest.raises(ModelError, match=r"rows of 32 features, got shape \(1, 31\)"):
            model.score(np.zeros((1, 31)))


def test_a_version_can_be_named(tmp_path: Path) -> None:
    first, second = save_logistic(tmp_path, 0.25), save_logistic(tmp_path, -1.0)
    with served(models_in(tmp_path)) as address:
        with TritonModel.connect(
            f"http://{address}", first, version=first.id.removeprefix("mine-"), timeout_s=20
        ) as named:
            assert named.score(np.array(ROWS)) == pytest.approx(answers(ROWS, 0.25), abs=1e-6)
        with TritonModel.connect(f"http://{address}", second, timeout_s=20) as newest:
            assert newest.score(np.array(ROWS)) == pytest.approx(answers(ROWS, -1.0), abs=1e-6)


def test_a_server_that_serves_another_model_of_that_name_is_refused_by_the_canary(tmp_path: Path) -> None:
    first = save_logistic(tmp_path, 0.25)
    save_logistic(tmp_path, -1.0)
    with (
        served(models_in(tmp_path)) as address,
        pytest.raises(ModelError, match=r"canary row 0 must score .* it serves another model; export this one again"),
    ):
        TritonModel.connect(f"http://{address}", first, timeout_s=20)


def test_a_model_that_the_server_has_not_is_said_with_those_it_has(server: str, network: tuple[Path, Manifest]) -> None:
    with pytest.raises(ModelError, match=r"answered /v2/models/gru with 404: no model gru; there are mlp"):
        TritonModel.connect(server, network[1], model="gru", timeout_s=20)


def test_a_server_that_is_away_is_said_with_what_to_do(network: tuple[Path, Manifest]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(BackendError, match=rf"Triton at 127\.0\.0\.1:{port} does not answer .*; start it, correct"):
            TritonModel.connect(f"http://user:secret@127.0.0.1:{port}", network[1])


def test_a_server_that_left_is_said_and_is_found_again_when_it_is_back(tmp_path: Path) -> None:
    manifest = save_logistic(tmp_path)
    with serving(Predicting(predictor=models_in(tmp_path))) as (address, _):
        model = TritonModel.connect(f"http://{address}", manifest, timeout_s=20)
    with model:
        with pytest.raises(BackendError, match="does not answer /v2/models/mine/infer"):
            model.score(np.array(ROWS))
        with speaking(lambda rows: as_json(answers(rows)), port=int(address.partition(":")[2])):
            assert model.score(np.array(ROWS)) == pytest.approx(answers(ROWS), abs=1e-6)


def test_a_server_that_is_silent_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BackendError, match="ReadTimeout"):
            TritonModel.connect(url, described_logistic(), timeout_s=0.05)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "grpc://127.0.0.1:8001", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ModelError, match=r"expected a Triton server as http://HOST:PORT"):
        TritonModel.connect(url, described_logistic())


def described_logistic() -> Manifest:
    """The manifest of `logistic`, without its file."""
    return described(logistic(), ROWS, answers(ROWS))


Answer = tuple[int, dict[str, str], bytes]
METADATA = {
    "name": "mine", "versions": ["1"], "platform": "onnxruntime_onnx",
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [{"name": "p_up", "datatype": "FP32", "shape": [-1, 1]}],
}  # fmt: skip


@contextmanager
def speaking(infer: Callable[[list[list[float]]], Answer], metadata: object = METADATA, port: int = 0) -> Iterator[str]:
    """A server that describes a model as Triton does, and answers rows with `infer`."""

    class Speaker(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._say((200, {}, msgspec.json.encode(metadata)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = int(self.headers["Inference-Header-Content-Length"])
            one = json.loads(body[:head])["inputs"][0]
            rows, width = one["shape"]
            assert (one["datatype"], one["parameters"]) == ("FP32", {"binary_data_size": 4 * rows * width})
            flat = struct.unpack(f"<{rows * width}f", body[head:])
            self._say(infer([list(flat[first : first + width]) for first in range(0, len(flat), width)]))

        def _say(self, answer: Answer) -> None:
            status, headers, body = answer
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Speaker) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join(10)


def binary(kind: str, shape: list[int], values: list[float], *before: bytes) -> Answer:
    """An answer as Triton writes it: `p_up` as bytes, after those of other outputs."""
    datatype, tail = {"f": "FP32", "d": "FP64"}[kind], struct.pack(f"<{len(values)}{kind}", *values)
    others = [
        {"name": "label", "datatype": "UINT8", "shape": [len(one)], "parameters": {"binary_data_size": len(one)}}
        for one in before
    ]
    wanted = {"name": "p_up", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"model_name": "mine", "model_version": "1", "outputs": [*others, wanted]}).encode()
    return 200, {"Inference-Header-Content-Length": str(len(head))}, head + b"".join(before) + tail


def as_json(values: list[float]) -> Answer:
    """An answer as KServe and MLServer write it."""
    output = {"name": "p_up", "datatype": "FP64", "shape": [len(values)], "data": values}
    return 200, {}, json.dumps({"model_name": "mine", "id": "x", "outputs": [output]}).encode()


@pytest.mark.parametrize(
    "infer",
    [
        lambda rows: binary("f", [len(rows), 1], answers(rows)),
        lambda rows: binary("f", [len(rows)], answers(rows)),
        lambda rows: binary("d", [len(rows)], answers(rows)),
        lambda rows: binary("f", [len(rows), 2], [x for p in answers(rows) for x in (1.0 - p, p)]),
        lambda rows: binary("f", [len(rows), 1], answers(rows), b"\x01" * len(rows)),
        lambda rows: as_json(answers(rows)),
    ],
)
def test_every_form_in_which_servers_answer_is_read(infer: Callable[[list[list[float]]], Answer]) -> None:
    with speaking(infer) as url, TritonModel.connect(url, described_logistic(), timeout_s=20) as model:
        scores = model.score(np.array(ROWS))
    assert scores == pytest.approx(answers(ROWS), abs=1e-6)
    assert (scores.dtype, scores.shape, scores.flags.c_contiguous) == (np.float64, (3,), True)


@pytest.mark.parametrize(
    ("infer", "error", "says"),
    [
        (lambda rows: (400, {}, b'{"error": "wrong shape"}'), ModelError, "with 400: wrong shape"),
        (lambda rows: (503, {}, b'{"error": "model is unloading"}'), BackendError, "with 503: model is unloading"),
        (lambda rows: (500, {}, b"<html>oops"), BackendError, "with 500: <html>oops"),
        (lambda rows: (200, {}, b"<html>"), ModelError, "answers without an output 'p_up'"),
        (lambda rows: (200, {}, b'{"model_name": "m", "outputs": []}'), ModelError, "it has others"),
        (lambda rows: as_json(answers(rows)[:1]), ModelError, r"expected \d+ scores of .*, got 1"),
        (lambda rows: binary("f", [len(rows), 1], answers(rows)[:1]), ModelError, "answers without"),
        (lambda rows: binary("f", [len(rows)], [float("nan")] * len(rows)), ModelError, "scores nan"),
        (lambda rows: as_json([0.5 + 1e-9 * len(rows)] * len(rows)), ModelError, "canary row 0 must score"),
    ],
)
def test_an_answer_that_is_none_is_refused(
    infer: Callable[[list[list[float]]], Answer], error: type[Exception], says: str
) -> None:
    with speaking(infer) as url, pytest.raises(error, match=says):
        TritonModel.connect(url, described_logistic(), timeout_s=20)


def test_a_server_whose_scores_change_with_the_batch_is_refused_unless_that_is_allowed() -> None:
    def drifting(rows: list[list[float]]) -> Answer:
        return as_json([p + 1e-7 * (len(rows) > 1) for p in answers(rows)])

    with speaking(drifting) as url:
        with pytest.raises(
            ModelError, match=r"score changes by 1e-07 with its batch, 0 is allowed; serve it on the CPU"
        ):
            TritonModel.connect(url, described_logistic(), timeout_s=20)
        with TritonModel.connect(url, described_logistic(), timeout_s=20, apart=1e-5) as model:
            assert model.score(np.array(ROWS)) == pytest.approx(answers(ROWS), abs=1e-6)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"detail": "hello"}, "does not speak the Open Inference Protocol"),
        (METADATA | {"inputs": []}, "expected .* to take 'features'"),
        (METADATA | {"inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]}, r"floats \[-1, 3\]"),
        (METADATA | {"inputs": [{"name": "features", "datatype": "INT64", "shape": [-1, 3]}]}, "to take 'features'"),
        (METADATA | {"outputs": [{"name": "p_up", "datatype": "BYTES", "shape": [-1, 1]}]}, "to give 'p_up', floats"),
    ],
)
def test_a_server_that_describes_another_model_is_refused(metadata: object, says: str) -> None:
    with speaking(lambda rows: as_json(answers(rows)), metadata) as url, pytest.raises(ModelError, match=says):
        TritonModel.connect(url, described_logistic(), timeout_s=20)
