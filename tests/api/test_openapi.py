"""The OpenAPI document says what the answers are."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from fastapi.testclient import TestClient

from api.openapi import EXAMPLES
from tests.api.whole import whole


@pytest.fixture(scope="module")
def document() -> Any:
    with TemporaryDirectory() as folder:
        return TestClient(whole(Path(folder)).app()).get("/openapi.json").json()


def operations(document: Any) -> dict[str, Any]:
    """Every operation by its method and path."""
    return {f"{method} {path}": one for path, methods in document["paths"].items() for method, one in methods.items()}


def test_every_path_is_there_and_is_described_for_people_and_generators(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    found = operations(document)
    resources = {name.split("/")[2] for name in found if "/v1/" in name}
    assert resources == {
        "symbols", "predictions", "features", "bars", "trades", "corrections", "quotes", "news", "outcomes", "models",
        "predict", "alerts", "sql",
    }  # fmt: skip
    assert {"get /healthz", "get /readyz", "get /metrics", "get /version"} <= found.keys()
    ids = [operation["operationId"] for operation in found.values()]
    assert len(set(ids)) == len(ids)
    for operation in found.values():
        assert operation["summary"]
        assert operation["tags"]
        assert all(response["description"] for response in operation["responses"].values())


def test_every_reference_leads_somewhere(document: Any) -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", msgspec.json.encode(document).decode()))
    assert names <= document["components"]["schemas"].keys()
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_error_is_a_problem(document: Any) -> None:
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("answer", EXAMPLES)
def test_every_example_is_an_answer(document: Any, answer: type[msgspec.Struct]) -> None:
    example = EXAMPLES[answer]
    raw = msgspec.json.encode(example)
    assert msgspec.json.decode(msgspec.json.encode(msgspec.json.decode(raw, type=answer))) == example
    shown = [
        said["content"]["application/json"]["example"]
        for operation in operations(document).values()
        for said in (*operation["responses"].values(), operation.get("requestBody", {}))
        if said.get("content", {})
        .get("application/json", {})
        .get("schema", {})
        .get("$ref", "")
        .endswith("/" + answer.__name__)
    ]
    assert shown == [example]


def test_every_answer_has_exactly_the_fields_that_are_described(document: Any) -> None:
    seen = 0
    with TemporaryDirectory() as folder, TestClient(whole(Path(folder)).app()) as client:
        for name, operation in operations(document).items():
            schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema")
            if schema is None or not name.startswith("get ") or re.search(r"\{(rule|delivery)\}", name):
                continue
            answer = client.get(name.removeprefix("get ").replace("{symbol}", "SIMA"))
            assert answer.status_code == 200, name
            jsonschema_rs.validator_for({**schema, "components": document["components"]}).validate(answer.json())
            described = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            assert answer.json().keys() == described["properties"].keys(), name
            seen += 1
    assert seen > 15


def test_reads_say_that_they_may_be_revalidated_and_changes_that_they_may_be_repeated(document: Any) -> None:
    told = {name: [each["name"] for each in one.get("parameters", ())] for name, one in operations(document).items()}
    assert "If-None-Match" in told["get /v1/trades/{symbol}"]
    assert {name for name, parameters in told.items() if "Idempotency-Key" in parameters} == {
        "post /v1/alerts/rules", "post /v1/alerts/endpoints", "post /v1/alerts/endpoints/{endpoint}/rotate",
        "post /v1/alerts/endpoints/{endpoint}/ping", "post /v1/alerts/endpoints/{endpoint}/replay",
        "post /v1/alerts/deliveries/{delivery}/replay", "post /v1/models/changes",
    }  # fmt: skip
