"""The OpenAPI document says what the answers are."""

import re
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from api.openapi import EXAMPLES
from tests.api.fakes import NOW_NS, LatestList, bar, latest
from tests.api.sql.fakes import Asking


@pytest.fixture(scope="module")
def document() -> Any:
    return TestClient(Asking().app()).get("/openapi.json").json()


def operations(document: Any) -> dict[str, Any]:
    """Every operation by its path, which has one."""
    assert all(len(methods) == 1 for methods in document["paths"].values())
    return {path: next(iter(methods.values())) for path, methods in document["paths"].items()}


def test_every_path_is_there_and_is_described_for_people_and_generators(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    found = operations(document)
    assert found.keys() == {
        "/v1/symbols", "/v1/predictions/{symbol}", "/v1/features/{symbol}", "/v1/bars/{symbol}", "/healthz", "/readyz",
        "/metrics", "/version", "/v1/sql", "/v1/sql/queries",
    }  # fmt: skip
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
            if status != "200":
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
    small = Asking(latest=LatestList([latest("SIMA")]))
    small.history.rows = [bar(NOW_NS - 60_000_000_000)]
    with TestClient(small.app()) as client:
        for path, operation in operations(document).items():
            schema = operation["responses"]["200"]["content"].get("application/json", {}).get("schema")
            if schema is None:
                continue
            described = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            url = path.replace("{symbol}", "SIMA")
            answer = client.post(url, json={"query": "hit_rate"}) if "requestBody" in operation else client.get(url)
            assert answer.status_code == 200
            assert answer.json().keys() == described["properties"].keys()
            assert set(described.get("required", [])) <= answer.json().keys()
