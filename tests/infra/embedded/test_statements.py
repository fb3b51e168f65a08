"""Which statement a request brings, in which format, and where the data of an INSERT begins."""

import pytest

from infra.embedded.answers import NOT_IMPLEMENTED, SYNTAX_ERROR, EngineError
from infra.embedded.exchange import read_statement
from infra.embedded.statements import parse_insert, parse_query


def split(raw: bytes) -> tuple[str, str | None, bytes]:
    """Text, format and data of an INSERT."""
    found = parse_insert(raw)
    assert found is not None
    statement, begins = found
    return statement.text, statement.format, raw[begins:]


@pytest.mark.parametrize(
    ("raw", "text", "form", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x00\xff'", "INSERT INTO t", "Native", b"\x00\xff'"),
        (b"INSERT INTO t FORMAT Native\r\n\n", "INSERT INTO t", "Native", b"\n"),
        (b"insert into d.t (a, `b c`) format CSV 1,2", "insert into d.t (a, `b c`)", "CSV", b"1,2"),
        (b"INSERT INTO t VALUES (1), ('it''s')", "INSERT INTO t", "Values", b" (1), ('it''s')"),
        (b"INSERT INTO t SETTINGS async_insert=0 FORMAT TSV\n1", "INSERT INTO t SETTINGS async_insert=0", "TSV", b"1"),
        (b"-- a\nINSERT /* b */ INTO t FORMAT CSV;\n1", "-- a\nINSERT /* b */ INTO t", "CSV", b"1"),
        (b"INSERT INTO FUNCTION null('a Int8') VALUES (1)", "INSERT INTO FUNCTION null('a Int8')", "Values", b" (1)"),
        (b"INSERT INTO values VALUES (1)", "INSERT INTO values", "Values", b" (1)"),
        (b"INSERT INTO format FORMAT CSV 1", "INSERT INTO format", "CSV", b"1"),
        (b"INSERT INTO d.values FORMAT CSV 1", "INSERT INTO d.values", "CSV", b"1"),
        (b"INSERT INTO t (a, select) VALUES (1, 2)", "INSERT INTO t (a, select)", "Values", b" (1, 2)"),
        (b"INSERT INTO t", "INSERT INTO t", None, b""),
    ],
)
def test_the_data_of_an_insert_begins_behind_its_format(raw: bytes, text: str, form: str | None, data: bytes) -> None:
    assert split(raw) == (text, form, data)


@pytest.mark.parametrize(
    "raw",
    [
        b"SELECT 1",
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (SELECT 1)",
        b"INSERT INTO t (a, b) WITH 1 AS x SELECT x, x",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"CREATE TABLE t (a Int8) ENGINE = Memory",
        b"",
    ],
)
def test_a_statement_that_brings_no_data_is_no_insert_here(raw: bytes) -> None:
    assert parse_insert(raw) is None


def test_an_insert_through_the_input_function_is_refused_because_it_would_insert_nothing() -> None:
    with pytest.raises(EngineError, match="input") as refused:
        parse_insert(b"INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV 1")
    assert refused.value.code == NOT_IMPLEMENTED


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 FORMAT JSON;", "JSON"),
        (b"select 1 format Native settings max_threads = 1", "Native"),
        (b"SELECT 1", None),
        (b"SELECT format FROM t", None),
        (b"SELECT 'x' AS t FORMAT CSV -- FORMAT JSON", "CSV"),
        (b"SELECT * FROM (SELECT 1 AS format) ORDER BY format", None),
        (b"SELECT * FROM t ORDER BY format DESC", None),
        (b"SELECT formatRow('CSV', 1)", None),
        (b"EXPLAIN SELECT 1 FORMAT TSVRaw", "TSVRaw"),
    ],
)
def test_the_format_of_an_answer_is_what_its_last_clause_says(raw: bytes, form: str | None) -> None:
    assert parse_query(raw).format == form


def test_only_selects_are_answered_piece_by_piece() -> None:
    streamable = [b"SELECT 1", b"WITH 1 AS x SELECT x", b"(SELECT 1) UNION ALL (SELECT 2)"]
    whole = [b"SHOW TABLES", b"EXPLAIN SELECT 1", b"WITH 1 AS x INSERT INTO t SELECT x", b"CREATE TABLE t AS u"]
    assert [parse_query(raw).streamable for raw in streamable] == [True] * 3
    assert [parse_query(raw).streamable for raw in whole] == [False] * 4


def test_more_than_one_statement_is_refused_and_a_last_semicolon_is_not() -> None:
    assert parse_query(b"SELECT ';' ; -- end\n").text == "SELECT ';'"
    with pytest.raises(EngineError, match="Multi-statements are not allowed") as refused:
        parse_query(b"SELECT 1; SELECT 2")
    assert refused.value.code == SYNTAX_ERROR


@pytest.mark.parametrize("raw", [b"", b"  \n", b"-- nothing", b";"])
def test_an_empty_query_is_an_error_as_on_a_server(raw: bytes) -> None:
    with pytest.raises(EngineError, match="Empty query"):
        parse_query(raw)


def test_kill_query_is_told_which_setting_holds_the_clients_query_id() -> None:
    text = parse_query(b"KILL QUERY WHERE query_id = 'a b' SYNC").text
    assert text == "KILL QUERY WHERE Settings['log_comment'] = 'a b' SYNC"
    text = parse_query(b"KILL QUERY WHERE elapsed >= 1.5 AND query_id != '\xc3\xa4' ;").text
    assert text == "KILL QUERY WHERE elapsed >= 1.5 AND Settings['log_comment'] != 'ä'"


def test_a_statement_may_be_in_the_url_its_data_in_the_body() -> None:
    statement, data = read_statement("INSERT INTO t FORMAT CSV", iter([b"1,", b"2\n"]))
    assert (statement.text, statement.format, b"".join(data)) == ("INSERT INTO t", "CSV", b"1,2\n")


def test_a_statement_may_begin_in_the_url_and_go_on_in_the_body() -> None:
    statement, data = read_statement("SELECT *", iter([b"FROM t ", b"WHERE a = 1"]))
    assert (statement.text, list(data)) == ("SELECT *\nFROM t WHERE a = 1", [])


def test_data_that_looks_like_sql_is_never_read_as_sql() -> None:
    statement, data = read_statement("", iter([b"INSERT INTO t FORMAT TSV\n'; DROP TABLE t; --\n"]))
    assert (statement.text, b"".join(data)) == ("INSERT INTO t", b"'; DROP TABLE t; --\n")
