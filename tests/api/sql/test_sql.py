"""`/v1/sql`: what may be asked, how it is answered, and what happens to those who ask for something else."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.sql.catalogue import QUERIES
from api.sql.ports import SqlFailed
from api.sql.running import AT_ONCE, MAX_BYTES, MAX_WAITING
from schemas.errors import DatabaseError, DatabaseUnavailable
from tests.api.fakes import world
from tests.api.sql.fakes import Asking, SqlList, body, only_one


@pytest.fixture
def asking() -> Asking:
    return Asking()


@pytest.fixture
def client(asking: Asking) -> Iterator[TestClient]:
    with TestClient(asking.app(), raise_server_exceptions=False) as made:
        yield made


def problem(response: Any) -> tuple[int, str]:
    """Status and kind of a refusal."""
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["type"].removeprefix("/problems/")


def test_every_query_is_listed_with_what_it_takes(client: TestClient) -> None:
    listed = client.get("/v1/sql/queries").json()
    assert [one["name"] for one in listed["data"]] == list(QUERIES)
    bars = next(one for one in listed["data"] if one["name"] == "bars")
    assert [(one["name"], one["type"], one["required"]) for one in bars["parameters"]] == [
        ("symbol", "text", True), ("start", "time", False), ("end", "time", False), ("kind", "text", False),
    ]  # fmt: skip
    assert (listed["free"], listed["max_rows"]) == (
        {"allowed": False, "tables": ["trades"], "functions": ["count"]}, 100,
    )  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_every_example_can_be_sent_as_it_is_listed(client: TestClient, name: str) -> None:
    listed = client.get("/v1/sql/queries").json()["data"]
    example = next(one["example"] for one in listed if one["name"] == name)
    assert client.post("/v1/sql", json={"query": name, "parameters": example}).status_code == 200


def test_a_named_query_is_answered_with_columns_rows_and_what_it_took(client: TestClient, asking: Asking) -> None:
    response = client.post("/v1/sql", json=body(parameters={"start": "2026-11-22T14:30:00.000000001Z"}, limit=5))
    query = asking.sql.asked[0]
    assert response.json() == {
        "query_id": query.id,
        "columns": [{"name": "model_id", "type": "LowCardinality(String)"}, {"name": "hit_rate", "type": "Float64"}],
        "rows": [["mlp-77ab", 0.5312]], "row_count": 1, "cut": False,
        "statistics": {"elapsed_s": 0.5, "rows_read": 7, "bytes_read": 70},
    }  # fmt: skip
    assert (response.headers["x-query-id"], response.headers["x-cut"]) == (query.id, "false")
    assert (query.sql, query.limit) == (QUERIES["hit_rate"].sql, 5)
    assert query.parameters["start"] == 1_795_357_800_000_000_001


def test_a_parameter_reaches_the_database_as_a_value_and_never_as_text_of_the_statement(
    client: TestClient, asking: Asking
) -> None:
    evil = "x' OR 1=1; DROP TABLE trades --{start:Int64}"
    assert client.post("/v1/sql", json=body("bars", parameters={"symbol": evil})).status_code == 200
    assert asking.sql.asked[0].parameters["symbol"] == evil
    assert asking.sql.asked[0].sql == QUERIES["bars"].sql


def test_a_body_that_is_no_text_is_the_clients_mistake(client: TestClient) -> None:
    assert problem(client.post("/v1/sql", content=b'{"query":"\xff"}')) == (422, "invalid-request")


def test_bytes_of_dead_letters_survive_json_and_arrow(client: TestClient) -> None:
    assert "base64Encode(raw) AS raw" in QUERIES["dead_letters"].sql
    listed = client.get("/v1/sql/queries").json()["data"]
    assert next(one["description"] for one in listed if one["name"] == "dead_letters").endswith("base64")


def test_more_rows_than_asked_for_are_cut_and_it_is_said(asking: Asking) -> None:
    asking.sql.rows = [b"[1,2]"] * 4
    with TestClient(asking.app()) as client:
        response = client.post("/v1/sql", json=body(limit=3))
        assert (response.json()["row_count"], response.json()["cut"], response.headers["x-cut"]) == (3, True, "true")
        csv = client.post("/v1/sql", json=body(limit=3), headers={"accept": "text/csv"})
        assert (csv.headers["x-row-count"], csv.headers["x-cut"]) == ("3", "true")


@pytest.mark.parametrize(
    ("accept", "media_type", "content"),
    [
        ("text/csv", "text/csv; charset=utf-8", b"csv"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream", b"arrow"),
        ("image/png, application/vnd.apache.parquet;q=0.5", "application/vnd.apache.parquet", b"parquet"),
        ("text/*", "text/csv; charset=utf-8", b"csv"),
    ],
)
def test_an_answer_comes_in_the_format_that_is_accepted(
    client: TestClient, accept: str, media_type: str, content: bytes
) -> None:
    response = client.post("/v1/sql", json=body(), headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"], response.content) == (200, media_type, content)


def test_a_format_that_is_not_there_is_refused_before_anything_runs(client: TestClient, asking: Asking) -> None:
    response = client.post("/v1/sql", json=body(), headers={"accept": "image/png"})
    assert problem(response) == (406, "not-acceptable")
    assert "text/csv" in response.json()["detail"]
    assert asking.sql.asked == []


@pytest.mark.parametrize(
    ("sent", "kind", "said"),
    [
        ({"query": "hitrate"}, (404, "unknown-query"), "there are latest_predictions"),
        ({"query": "bars"}, (422, "invalid-request"), "body.parameters.symbol: expected text, such as 'SIMA'"),
        (
            body("bars", parameters={"symbol": "A", "sym": 1}),
            (422, "invalid-request"),
            "it has symbol, start, end, kind",
        ),
        (body("bars", parameters={"symbol": 1}), (422, "invalid-request"), "expected text"),
        (body("bars", parameters={"symbol": "A" * 201}), (422, "invalid-request"), "200 characters"),
        (body(parameters={"start": "yesterday"}), (422, "invalid-request"), "RFC 3339"),
        (body("ledger_lines", parameters={"partition": -1}), (422, "invalid-request"), "expected an integer"),
        (body("ledger_lines", parameters={"partition": True}), (422, "invalid-request"), "expected an integer"),
        (body("ledger_lines", parameters={"partition": "1"}), (422, "invalid-request"), "expected an integer"),
        (body(limit=0), (422, "invalid-request"), "$.limit"),
        (body(limit=101), (422, "invalid-request"), "expected 1 to 100 rows"),
        (body(settings={}), (422, "invalid-request"), "unknown field `settings`"),
        ({}, (422, "invalid-request"), "either `query`"),
        (body(sql="SELECT 1"), (422, "invalid-request"), "either `query`"),
        ([], (422, "invalid-request"), "Expected `object`"),
        ({"sql": "SELECT 1"}, (403, "sql-not-allowed"), "GET /v1/sql/queries"),
    ],
)
def test_what_cannot_be_asked_is_told_apart(
    client: TestClient, asking: Asking, sent: Any, kind: tuple[int, str], said: str
) -> None:
    response = client.post("/v1/sql", json=sent)
    assert problem(response) == kind
    assert said in response.json()["detail"]
    assert asking.sql.asked == []


def test_a_name_that_is_nearly_right_gets_a_suggestion(client: TestClient) -> None:
    assert "hit_rate" in client.post("/v1/sql", json=body("hitrate")).json()["suggestions"]


@pytest.mark.parametrize("sent", [b"", b"SELECT 1", b"{" * 100_000, b"[" * 60_000, b" " * (MAX_BYTES + 1)])
def test_a_body_that_is_no_request_is_refused(client: TestClient, sent: bytes) -> None:
    assert problem(client.post("/v1/sql", content=sent)) == (422, "invalid-request")


def test_sql_of_ones_own_runs_as_the_guard_says_it_where_it_is_allowed() -> None:
    asking = Asking(check=only_one)
    with TestClient(asking.app()) as client:
        assert client.post("/v1/sql", json={"sql": "SELECT 1"}).status_code == 200
        assert asking.sql.asked[0].sql == "SELECT  1"
        refused = client.post("/v1/sql", json={"sql": "SELECT sleep(1)"})
        assert problem(refused) == (422, "sql-refused")
        assert "sleep" in refused.json()["detail"]
        both = client.post("/v1/sql", json={"sql": "SELECT 1", "parameters": {"a": 1}})
        assert problem(both) == (422, "invalid-request")
        assert client.get("/v1/sql/queries").json()["free"]["allowed"]
    assert len(asking.sql.asked) == 1


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (SqlFailed("Unknown identifier `x`", limit=False), (422, "query-failed"), "Unknown identifier"),
        (SqlFailed("Timeout exceeded", limit=True), (422, "query-too-large"), "Timeout exceeded"),
        (DatabaseError("disk full at /var/lib", code=243), (503, "backend-unavailable"), "not available now"),
        (DatabaseUnavailable("127.0.0.1:2: refused"), (503, "backend-unavailable"), "not available now"),
    ],
)
def test_what_the_database_says_is_told_only_where_it_is_about_the_query(
    asking: Asking, error: Exception, kind: tuple[int, str], said: str
) -> None:
    asking.sql.fails = error
    with TestClient(asking.app()) as client:
        response = client.post("/v1/sql", json=body())
    assert problem(response) == kind
    assert said in response.json()["detail"]
    assert "/var/lib" not in response.text


def test_without_a_reader_there_is_no_sql() -> None:
    with TestClient(world().app()) as client:
        assert client.post("/v1/sql", json=body()).status_code == 404


async def _call(asking: Asking, hang_up: asyncio.Event) -> int:
    """POST over bare ASGI, by a client that may hang up; the status, 0 where none came."""
    status = 0
    sent = [{"type": "http.request", "body": b'{"query": "hit_rate"}', "more_body": False}]

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await hang_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/sql", "raw_path": b"/v1/sql", "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "root_path": "",
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await asking.app()(scope, receive, send)
    return status


def test_the_query_of_a_client_that_hung_up_is_cancelled() -> None:
    asking = Asking(sql=SqlList(waits=True, fails=SqlFailed("Query was cancelled", limit=True)))

    async def scenario() -> None:
        hang_up = asyncio.Event()
        call = asyncio.create_task(_call(asking, hang_up))
        assert await asyncio.to_thread(asking.sql.runs.wait, 10)
        assert asking.sql.cancelled == []
        hang_up.set()
        assert await asyncio.wait_for(call, 10) == 422

    asyncio.run(scenario())
    assert set(asking.sql.cancelled) == {asking.sql.asked[0].id}


def test_the_query_of_a_client_that_waits_is_not() -> None:
    asking = Asking()
    assert asyncio.run(_call(asking, asyncio.Event())) == 200
    assert asking.sql.cancelled == []


def test_only_a_few_wait_and_the_next_one_is_told_when_to_come_back() -> None:
    asking = Asking(sql=SqlList(waits=True))

    async def scenario() -> list[int]:
        app = asking.app()
        asking.app = lambda: app  # type: ignore[method-assign]
        calls = [asyncio.create_task(_call(asking, asyncio.Event())) for _ in range(AT_ONCE + MAX_WAITING)]
        assert await asyncio.to_thread(asking.sql.runs.wait, 10)
        one_more = await _call(asking, asyncio.Event())
        assert len(asking.sql.asked) <= AT_ONCE
        asking.sql.ends.set()
        return [one_more, *(await asyncio.gather(*calls))]

    assert asyncio.run(scenario()) == [503] + [200] * (AT_ONCE + MAX_WAITING)
