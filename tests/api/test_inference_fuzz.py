"""Requests made of anything at all: the protocol's answer is an error of the client's, never ours."""

import json

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.predictors import Predicting

INFER = "/v2/models/formula/infer"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
inputs = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("features") | values, "datatype": st.sampled_from(["FP32", "FP64"]) | values,
        "shape": st.just([1, 3]) | values, "data": st.just([0.1, 0.2, 0.3]) | values,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(0, 30) | values}) | values,
    },
)  # fmt: skip
requests = st.fixed_dictionaries(
    {},
    optional={"inputs": st.lists(inputs, max_size=2) | values, "outputs": values, "id": values, "parameters": values},
)
served = TestClient(Predicting().app(), raise_server_exceptions=False)


@settings(max_examples=150, deadline=None)
@given(requests.map(lambda one: json.dumps(one).encode()) | st.binary(max_size=60), st.binary(max_size=30), st.data())
def test_no_request_whatever_is_our_fault(head: bytes, tail: bytes, data: st.DataObject) -> None:
    length = data.draw(st.none() | st.just(len(head)) | st.integers(0, 100))
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    answer = served.post(INFER, content=head + tail, headers=headers)
    assert answer.status_code in {200, 400, 413}
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"inputs":' * 50_000, b"NaN" + b"[" * 100_000, b'{"a":NaN,"b":1' + b"0" * 5_000]
)
def test_bodies_made_to_break_a_parser_are_refused(body: bytes) -> None:
    assert served.post(INFER, content=body).status_code == 400
