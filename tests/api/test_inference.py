"""The Open Inference Protocol: what a request says reaches the model bit by bit, and what is wrong with it is said."""

import json
import struct
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.inference_messages import MAX_BYTES, MAX_JSON_BYTES, MAX_ROWS
from api.routes.inference import MAX_INSIDE
from tests.api.fakes import world
from tests.api.predictors import FormulaPredictor, Predicting, expected

ROWS = [[1.0, 0.5, -2.0], [0.1, float("nan"), 3.0]]
INFER = "/v2/models/formula/infer"


@pytest.fixture
def predictor() -> FormulaPredictor:
    return FormulaPredictor()


@pytest.fixture
def client(predictor: FormulaPredictor) -> Iterator[TestClient]:
    with TestClient(Predicting(predictor=predictor).app(), raise_server_exceptions=False) as made:
        yield made


def tensor(shape: tuple[int, ...] = (2, 3), datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    """The input of a request."""
    return {"name": "features", "shape": shape, "datatype": datatype, **more}


def asked(client: TestClient, one: Mapping[str, Any], path: str = INFER, **more: Any) -> Any:
    """The answer to a request in JSON."""
    answer = client.post(path, content=json.dumps({"inputs": [one], **more}))
    assert answer.status_code == 200, answer.text
    return answer.json()


def packed(rows: list[list[float]], kind: str, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request whose rows lie behind the JSON as `<f` or `<d`, and its headers."""
    flat = [x for row in rows for x in row]
    tail = struct.pack(f"<{len(flat)}{kind}", *flat)
    datatype = {"f": "FP32", "d": "FP64"}[kind]
    one = tensor((len(rows), 3), datatype, parameters={"binary_data_size": len(tail)})
    head = json.dumps({"inputs": [one], **more}).encode()
    return head + tail, {"Inference-Header-Content-Length": str(len(head))}


def test_the_server_says_what_it_is_and_that_it_lives(client: TestClient) -> None:
    assert client.get("/v2").json() == {"name": "tickwire", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_a_model_is_described_for_whoever_builds_requests_from_it(client: TestClient) -> None:
    described = client.get("/v2/models/formula").json()
    assert described == {
        "name": "formula", "versions": ["0a1b", "2c3d"], "platform": "onnx_onnxv1",
        "inputs": [{"name": "features", "datatype": "FP64", "shape": [-1, 3]}],
        "outputs": [{"name": "p_up", "datatype": "FP64", "shape": [-1]}],
        "parameters": {"id": "formula-2c3d", "features": "a,b,c", "features_id": "abc1", "horizon_s": 10.0},
    }  # fmt: skip
    assert client.get("/v2/models/formula/versions/0a1b").json()["parameters"]["id"] == "formula-0a1b"
    assert client.get("/v2/models/formula/ready").json() == {"name": "formula", "ready": True}
    assert client.get("/v2/models/formula/versions/0a1b/ready").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        "[1.0, 0.5, -2.0, 0.1, null, 3]",
        "[[1, 5e-1, -2], [0.1, null, 3.0]]",
        " [ [1.0, 0.5, -2.0],\n[0.1, NaN, 3.0]]",
        "[1.0, 0.5, -2.0, 0.1, Infinity, 3]",
    ],
)
def test_rows_in_json_are_read_flat_or_nested_and_missing_values_are_nan(
    client: TestClient, predictor: FormulaPredictor, data: str
) -> None:
    head = '{"id": "one", "inputs": [{"name": "features", "datatype": "FP64", "shape": [2, 3], "data": '
    body = f"{head}{data}}}]}}"
    answer = client.post(INFER, content=body)
    assert answer.json() == {
        "model_name": "formula", "model_version": "2c3d", "id": "one",
        "outputs": [{"name": "p_up", "datatype": "FP64", "shape": [2], "data": expected(ROWS)}],
    }  # fmt: skip
    assert predictor.seen[0].tobytes() == np.array(ROWS).tobytes()
    assert predictor.seen[0].flags.c_contiguous


def test_binary_rows_reach_the_model_with_their_bits(client: TestClient, predictor: FormulaPredictor) -> None:
    body, headers = packed(ROWS, "d")
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.json()["outputs"][0]["data"] == expected(ROWS)
    assert predictor.seen[0].tobytes() == np.array(ROWS).tobytes()
    body, headers = packed(ROWS, "f")
    client.post(INFER, content=body, headers=headers)
    assert predictor.seen[1].dtype == np.float64
    assert predictor.seen[1].tobytes() == np.array(ROWS).astype(np.float32).astype(np.float64).tobytes()


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "p_up", "parameters": {"binary_data": True}}]},
        {"outputs": [{"name": "p_up"}], "parameters": {"binary_data_output": True}},
    ],
)
def test_scores_come_as_bytes_where_they_are_asked_for(client: TestClient, more: dict[str, Any]) -> None:
    body, headers = packed(ROWS, "d", **more)
    answer = client.post(INFER, content=body, headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    output = json.loads(answer.content[:length])["outputs"][0]
    assert output == {"name": "p_up", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": 16}}
    assert list(struct.unpack("<2d", answer.content[length:])) == expected(ROWS)
    assert answer.headers["content-type"] == "application/octet-stream"


def test_an_output_may_ask_for_json_where_the_request_asks_for_bytes(client: TestClient) -> None:
    outputs = [{"name": "p_up", "parameters": {"binary_data": False}}]
    told = asked(client, tensor(data=[0.0] * 6), outputs=outputs, parameters={"binary_data_output": True})
    assert told["outputs"][0]["data"] == expected([[0.0] * 3] * 2)


def test_a_version_is_scored_by_itself(client: TestClient) -> None:
    told = asked(client, tensor(data=[0.0] * 6), "/v2/models/formula/versions/0a1b/infer")
    assert (told["model_version"], told["outputs"][0]["data"]) == ("0a1b", [0.25, 0.25])


def test_no_rows_have_no_scores(client: TestClient) -> None:
    assert asked(client, tensor((0, 3), data=[]))["outputs"][0] == {
        "name": "p_up", "datatype": "FP64", "shape": [0], "data": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "missing required field `inputs`"),
        ({"inputs": []}, "expected one input 'features', got []"),
        ({"inputs": [tensor(data=[0.0] * 6), tensor(data=[0.0] * 6)]}, "expected one input"),
        ({"inputs": [tensor() | {"name": "x"}]}, "got ['x']"),
        ({"inputs": [tensor(datatype="INT64", data=[1] * 6)]}, "expected datatype FP64 or FP32, got 'INT64'"),
        ({"inputs": [tensor((2, 4), data=[0.0] * 8)]}, "expected shape [n, 3], got [2, 4]"),
        ({"inputs": [tensor((6,), data=[0.0] * 6)]}, "expected shape [n, 3], got [6]"),
        ({"inputs": [tensor((-2, 3), data=[0.0] * 6)]}, ">= 0"),
        ({"inputs": [tensor(data=[0.0] * 5)]}, "shape [2, 3] has 6 values, got 5"),
        ({"inputs": [tensor(data=[[0.0] * 2, [0.0] * 4])]}, "expected rows of 3 values"),
        ({"inputs": [tensor(data=["1"] * 6)]}, "expected numbers and nulls"),
        ({"inputs": [tensor(data=[True] * 6)]}, "expected numbers and nulls"),
        ({"inputs": [tensor(data={"a": 1})]}, "expected numbers and nulls"),
        ({"inputs": [tensor(data=[[[0.0] * 3], [[0.0] * 3]])]}, "expected numbers and nulls"),
        ({"inputs": [tensor()]}, "either `data` or `parameters.binary_data_size`"),
        ({"inputs": [tensor(parameters={"binary_data_size": 48})]}, "expected 48 bytes behind the JSON"),
        ({"inputs": [tensor(parameters={"shared_memory_region": "r"})]}, "shared memory is not served"),
        ({"inputs": [tensor(data=[0.0] * 6)], "outputs": [{"name": "logit"}]}, "expected one output 'p_up'"),
        (
            {"inputs": [tensor(data=[0.0] * 6)], "outputs": [{"name": "p_up", "parameters": {"classification": 2}}]},
            "classification",
        ),
    ],
)
def test_what_is_wrong_with_a_request_is_said(client: TestClient, body: dict[str, Any], says: str) -> None:
    answer = client.post(INFER, content=json.dumps(body))
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "999999", "9" * 30, ""])
def test_a_length_of_the_json_that_cannot_be_is_refused(client: TestClient, length: str) -> None:
    body, _ = packed(ROWS, "d")
    answer = client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


def test_bytes_that_are_missing_or_too_many_are_counted(client: TestClient) -> None:
    body, headers = packed(ROWS, "d")
    for wrong in (body[:-1], body + b"\0"):
        answer = client.post(INFER, content=wrong, headers=headers)
        assert (answer.status_code, "expected 48 bytes" in answer.json()["error"]) == (400, True)
    body, headers = packed(ROWS[:1], "d")
    answer = client.post(INFER, content=body.replace(b'"shape": [1, 3]', b'"shape": [2, 3]'), headers=headers)
    assert "FP64 [2, 3] has 48 bytes, got 24" in answer.json()["error"]


def test_too_much_is_refused_with_what_is_allowed(client: TestClient, predictor: FormulaPredictor) -> None:
    body, headers = packed([[0.0] * 3] * (MAX_ROWS + 1), "f")
    rows = client.post(INFER, content=body, headers=headers)
    words = client.post(INFER, content=b" " * (MAX_JSON_BYTES + 1))
    octets = client.post(INFER, content=b"\0" * (MAX_BYTES + 1), headers={"Inference-Header-Content-Length": "10"})
    assert [one.status_code for one in (rows, words, octets)] == [413] * 3
    assert f"at most {MAX_ROWS} rows, got {MAX_ROWS + 1}" in rows.json()["error"]
    assert f"at most {MAX_JSON_BYTES} bytes of JSON" in words.json()["error"]
    assert f"at most {MAX_BYTES} bytes" in octets.json()["error"]
    assert predictor.seen == []
    body, headers = packed([[0.0] * 3] * MAX_ROWS, "d")
    assert client.post(INFER, content=body, headers=headers).status_code == 200


def test_a_packed_body_is_refused(client: TestClient) -> None:
    answer = client.post(INFER, content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (415, {"error": "expected a body without Content-Encoding"})


@pytest.mark.parametrize("path", ["/v2/models/none", "/v2/models/none/ready", "/v2/models/formula/versions/9"])
def test_a_model_that_does_not_exist_is_refused_with_those_that_do(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"].endswith("there are formula")
    infer = client.post(
        f"{path.removesuffix('/ready')}/infer", content=json.dumps({"inputs": [tensor(data=[0.0] * 6)]})
    )
    assert (infer.status_code, infer.json()) == (404, answer.json())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/formula/config"),
        ("POST", "/v2/repository/index"),
        ("GET", INFER),
        ("GET", "/v2/models/a%2Fb%2Fc/ready"),
    ],
)
def test_extensions_that_are_not_served_are_refused_in_the_protocols_words(
    client: TestClient, method: str, path: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"].endswith("is not served")


def test_a_model_that_must_not_be_used_is_not_ready_and_its_path_stays_in_our_log(
    client: TestClient, predictor: FormulaPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    predictor.broken = True
    assert client.get("/v2/models/broken/ready").json() == {"name": "broken", "ready": False}
    assert client.get("/v2/models/broken/ready").status_code == 400
    assert (client.get("/v2/health/ready").status_code, client.get("/v2/health/live").status_code) == (400, 200)
    answer = client.post("/v2/models/broken/infer", content=json.dumps({"inputs": [tensor(data=[0.0] * 6)]}))
    assert answer.status_code == 503
    assert answer.headers["x-request-id"] in answer.json()["error"]
    assert "/srv" not in answer.text
    assert "/srv/secret/broken.onnx was altered or torn" in [getattr(one, "error", "") for one in caplog.records]
    assert client.get("/v2/models/formula/ready").status_code == 200


def test_nothing_else_waits_while_models_score_and_too_many_requests_are_sent_away(
    client: TestClient, predictor: FormulaPredictor
) -> None:
    predictor.gate = threading.Event()
    body, headers = packed(ROWS, "d")
    with ThreadPoolExecutor(MAX_INSIDE) as threads:
        waiting = [threads.submit(insist, client, body, headers) for _ in range(MAX_INSIDE)]
        try:
            assert predictor.entered.acquire(timeout=20)
            assert predictor.entered.acquire(timeout=20)
            while (refused := client.post(INFER, headers={"Content-Encoding": "gzip"})).status_code == 415:
                pass  # not all of them have arrived yet
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert client.get("/healthz").status_code == 200
            assert client.get("/v2/models/formula/ready").status_code == 200
        finally:
            predictor.gate.set()
        scores = [one.result(20) for one in waiting]
    assert scores == [expected(ROWS)] * MAX_INSIDE


def insist(client: TestClient, body: bytes, headers: Mapping[str, str]) -> Any:
    """Scores, however often one must ask."""
    while (answer := client.post(INFER, content=body, headers=headers)).status_code == 503:
        pass
    return answer.json()["outputs"][0]["data"]


def test_without_models_the_protocol_is_not_there() -> None:
    with TestClient(world().app()) as client:
        assert client.get("/v2/health/live").json()["type"] == "/problems/not-found"
