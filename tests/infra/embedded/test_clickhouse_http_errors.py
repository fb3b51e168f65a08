"""What ClickHouse's HTTP interface answers when something is wrong: code, text and status."""

import http.client
from http import HTTPStatus

import pytest

from infra.embedded.answers import OURS, STATUS
from tests.infra.embedded.conftest import ClickHouse
from tests.infra.embedded.http_tables import TOO_SLOW, table


@pytest.mark.parametrize(
    ("query", "code", "status"),
    [
        ("SELECT * FROM nowhere", 60, 404),
        ("SELECT * FROM system.nowhere", 60, 404),
        ("INSERT INTO nowhere VALUES (1)", 60, 404),
        ("SELECT * FROM nowhere.t", 81, 404),
        ("SELECT nothing FROM system.one", 47, 404),
        ("SELECT nofunction(1)", 46, 404),
        ("SELECT 1 FORMAT NoFormat", 73, 404),
        ("SELECT 1 SETTINGS nosetting = 1", 115, 404),
        ("SELEC 1", 62, 400),
        ("SELECT 'open", 62, 400),
        ("SELECT 1; SELECT 2", 62, 400),
        ("-- nothing", 62, 400),
        ("SELECT throwIf(1)", 395, 500),
        (TOO_SLOW, 159, 408),
        ("SELECT groupArray(number) FROM numbers(100000000) SETTINGS max_memory_usage = 10000000", 241, 500),
        ("CREATE TABLE http.bad (a NoType) ENGINE = Memory", 50, 404),
        ("SELECT toUInt8('x')", 6, 400),
        ("INSERT INTO system.one SELECT * FROM input('a Int8') FORMAT CSV", 48, 501),
    ],
)  # fmt: skip
def test_an_error_has_clickhouses_code_text_and_status(
    clickhouse: ClickHouse, query: str, code: int, status: int
) -> None:
    clickhouse.run("CREATE DATABASE IF NOT EXISTS http")
    response = clickhouse.ask(query)
    assert (response.status, response.headers["X-ClickHouse-Exception-Code"]) == (status, str(code)), response.text
    assert response.text.startswith(f"Code: {code}. DB::")
    assert response.text.rstrip().endswith("(version 26.9.2.1)")


def test_every_code_that_has_a_status_of_its_own_is_one_the_engine_knows(clickhouse: ClickHouse) -> None:
    codes = sorted({code for codes in STATUS.values() for code in codes} | OURS.keys())
    names = clickhouse.run(f"SELECT errorCodeToName(arrayJoin({codes})) FORMAT TSVRaw").split("\n")[:-1]
    assert all(names)
    known = dict(zip(codes, names, strict=True))
    assert {code: known[code] for code in OURS} == OURS
    assert known[60] == "UNKNOWN_TABLE"
    assert STATUS[HTTPStatus.NOT_FOUND] >= {60, 81}


def test_a_setting_in_the_url_that_does_not_exist_is_an_error_and_runs_nothing(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "unset")
    for setting in ("nosetting", "max threads", "a'b"):
        response = clickhouse.ask(body=f"INSERT INTO {name} VALUES (1, 'x')".encode(), settings={setting: "1"})
        assert (response.status, response.headers["X-ClickHouse-Exception-Code"]) == (404, "115")
    assert clickhouse.run(f"SELECT count() FROM {name}") == "0\n"


def test_an_error_behind_the_first_rows_ends_the_answer_visibly(clickhouse: ClickHouse) -> None:
    query = "SELECT number, throwIf(number > 150000) FROM numbers(200000) SETTINGS max_block_size = 10000"
    connection = http.client.HTTPConnection("127.0.0.1", clickhouse.port)
    connection.request("POST", "/", body=query.encode())
    response = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as cut:
        response.read()
    connection.close()
    tag = response.headers["X-ClickHouse-Exception-Tag"]
    assert response.status == 200
    assert f"__exception__\r\n{tag}\r\nCode: 395. DB::Exception".encode() in cut.value.partial
    waited = clickhouse.ask(query, wait_end_of_query="1")
    assert (waited.status, waited.headers["X-ClickHouse-Exception-Code"]) == (500, "395")


def test_waiting_for_the_end_gives_the_same_answer_with_its_length(clickhouse: ClickHouse) -> None:
    query = "SELECT number, toString(number) FROM numbers(3000000)"
    waited = clickhouse.ask(query, wait_end_of_query="1")
    assert waited.body == clickhouse.ask(query).body
    assert waited.headers["Content-Length"] == str(len(waited.body))
