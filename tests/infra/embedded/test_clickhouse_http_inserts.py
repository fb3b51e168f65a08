"""Inserts over ClickHouse's HTTP interface: whole, once, or not at all."""

import socket

import pytest

from tests.infra.embedded.conftest import ClickHouse
from tests.infra.embedded.http_tables import running, table
from tests.services.processes import until


def test_a_get_changes_nothing(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "get")
    for statement in (f"INSERT INTO {name} VALUES (1, 'x')", f"DROP TABLE {name}", "CREATE DATABASE other"):
        response = clickhouse.ask(statement, method="GET")
        assert response.headers["X-ClickHouse-Exception-Code"] == "164", response.text
    assert clickhouse.ask(f"SELECT count() FROM {name}", method="GET", max_threads="1").text == "0\n"


def test_an_insert_token_in_the_url_reaches_the_insert(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "token")
    for token, data in (("t1", b"1,x\n"), ("t1", b"1,x\n"), ("t'2", b"1,x\n")):
        url = {"insert_deduplication_token": token, "async_insert": "0", "insert_deduplicate": "1"}
        assert clickhouse.ask(f"INSERT INTO {name} FORMAT CSV", body=data, settings=url).status == 200
    assert clickhouse.run(f"SELECT count() FROM {name}") == "2\n"


def test_a_body_of_many_pieces_with_a_token_is_one_part(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "pieces")
    body = clickhouse.ask("SELECT toUInt32(number) AS a, repeat('x', 100) AS b FROM numbers(60000) FORMAT Native").body
    assert len(body) > 6_000_000
    url = {"insert_deduplication_token": "t", "async_insert": "0"}
    for _ in range(2):
        assert clickhouse.ask(f"INSERT INTO {name} FORMAT Native", body=body, settings=url).status == 200
    parts = "SELECT count() FROM system.parts WHERE database = 'http' AND table = 'pieces' AND active"
    assert (clickhouse.run(f"SELECT count() FROM {name}"), clickhouse.run(parts)) == ("60000\n", "1\n")


@pytest.mark.parametrize("data", [b"1,x\nbad,y\n", b"1\n"])
def test_an_insert_with_a_bad_row_inserts_nothing(clickhouse: ClickHouse, data: bytes) -> None:
    name = table(clickhouse, "bad_rows")
    response = clickhouse.ask(f"INSERT INTO {name} FORMAT CSV", body=data)
    assert response.status in (400, 500)
    assert response.text.startswith("Code: ")
    assert clickhouse.run(f"SELECT count() FROM {name}") == "0\n"


def test_an_insert_whose_client_goes_away_inserts_nothing(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "gone")
    with socket.create_connection(("127.0.0.1", clickhouse.port)) as client:
        head = (
            f"POST /?query=INSERT+INTO+{name}+FORMAT+CSV HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        )
        client.sendall(head.encode() + b"1,x\n" * 1000)
    until("the insert being given up", lambda: "INSERT" not in running(clickhouse), within_s=10)
    assert clickhouse.run(f"SELECT count() FROM {name}") == "0\n"
