"""What a statement may not reach, and that nothing else is refused."""

import pytest

from infra.embedded.answers import ACCESS_DENIED, EngineError
from infra.embedded.grants import ENGINES
from infra.embedded.guard import refuse_expressions_in_settings, refuse_outside
from infra.embedded.tokens import tokens
from tests.infra.embedded.conftest import ClickHouse

INSIDE_TABLE_FUNCTIONS = frozenset(
    [
        "dictionary", "format", "fuzzJSON", "fuzzQuery", "generateRandom", "generateSeries", "generate_series", "input",
        "loop", "merge", "mergeTreeAnalyzeIndexes", "mergeTreeAnalyzeIndexesUUID", "mergeTreeCodecBlockCounts",
        "mergeTreeIndex", "mergeTreeProjection", "mergeTreeTextIndex", "null", "numbers", "numbers_mt", "primes",
        "SQLStandardValues", "timeSeriesData", "timeSeriesMetricFamilies", "timeSeriesMetrics", "timeSeriesSamples",
        "timeSeriesSelector", "timeSeriesTags", "values", "view", "viewExplain", "viewIfPermitted", "zeros", "zeros_mt",
    ]
)  # fmt: skip
"""They read tables of this database, or nothing at all."""


def refused(statement: str) -> bool:
    try:
        refuse_outside(list(tokens(statement.encode().decode("latin-1"))))
    except EngineError as error:
        return error.code == ACCESS_DENIED
    return False


ATTACKS = [
    "SELECT file('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"file\" ( '/etc/passwd')",
    "SELECT “file”('/etc/passwd')",
    "SELECT file/* */('/etc/passwd')",
    "SELECT file -- \n ('/etc/passwd')",
    "SELECT `f\\x69le`('/etc/passwd')",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT * APPLY file FROM (SELECT '/etc/passwd' AS a)",
    "SELECT * APPLY(file) FROM (SELECT '/etc/passwd' AS a)",
    "SELECT 1 // '\n, file('/etc/passwd') // '",
    "SELECT 1 /* /* */ ' */, file('/etc/passwd') -- '",
    "SELECT $$ ' $$, file('/etc/passwd')",
    "SELECT ‘--’, file('/etc/passwd')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM FILE('/etc/passwd')",
    "SELECT * FROM url('http://127.0.0.1/')",
    "SELECT * FROM URLCluster('c', 'http://127.0.0.1/')",
    "SELECT * FROM remote('127.0.0.1', 'system.one')",
    "SELECT * FROM s3('http://127.0.0.1/a/b')",
    "SELECT * FROM mysql('127.0.0.1:3306', 'a', 'b', 'c', 'd')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM python(x)",
    "SELECT * FROM cluster('c', system.one)",
    "INSERT INTO FUNCTION file('/tmp/x', 'CSV', 'a Int8') VALUES (1)",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 into/**/outfile '/tmp/x'",
    "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
    "CREATE TABLE t (a Int8) ENGINE = File(CSV)",
    "CREATE TABLE t (a Int8) ENGINE URL('http://127.0.0.1/', CSV)",
    "CREATE TABLE t (a Int8) ENGINE = Kafka SETTINGS kafka_broker_list = 'x'",
    "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '/tmp/')",
    "CREATE DATABASE d ENGINE = Filesystem('/')",
    "CREATE DATABASE d ENGINE = MySQL('a', 'b', 'c', 'd')",
    "CREATE FUNCTION f AS x -> file(x)",
    "SELECT 1 SETTINGS additional_table_filters = {'system.one': 'file(\\'/etc/passwd\\') = 1'}",
]


@pytest.mark.parametrize("statement", ATTACKS)
def test_a_statement_that_reaches_outside_is_refused(statement: str) -> None:
    assert refused(statement)


@pytest.mark.parametrize("statement", ATTACKS)
def test_the_server_refuses_it_too_and_shows_nothing(clickhouse: ClickHouse, statement: str) -> None:
    response = clickhouse.ask(body=statement.encode())
    assert response.status in (400, 403, 404), response.text
    assert "root:" not in response.text


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT url, domain(url) FROM t",
        "SELECT remote_address, s3_key, cluster FROM t WHERE engine = 'MergeTree'",
        "SELECT hiveHash('x'), replicate(1, [1, 2]), format('{}', 1), '-- file()', \"files\"",
        "CREATE TABLE t (a Int8) ENGINE = ReplacingMergeTree ORDER BY a",
        "SELECT name, engine FROM system.tables ORDER BY engine",
        "INSERT INTO files VALUES (1)",
        "SELECT * FROM numbers(10), merge('d', 't'), view(SELECT 1)",
        "BACKUP",
        "CREATE TABLE http.url (a Int8) ENGINE = Log",
        "INSERT INTO url (a) VALUES (1)",
        "CREATE TABLE IF NOT EXISTS redis (a Int8) ENGINE = Log",
    ],
)
def test_other_statements_pass(statement: str) -> None:
    assert not refused(statement)


def test_an_expression_in_a_setting_is_judged_as_a_statement_is() -> None:
    refuse_expressions_in_settings({"additional_table_filters": "{'m.t': 'symbol = \\'SPY\\''}", "max_threads": "file"})
    for text in ("{'m.t': 'file(\\'/etc/passwd\\') = 1'}", "{'m.t': 'f\\x69le(1)'}"):
        with pytest.raises(EngineError, match="refused over HTTP"):
            refuse_expressions_in_settings({"additional_table_filters": text})


def test_every_table_function_of_the_engine_is_judged(clickhouse: ClickHouse) -> None:
    names = clickhouse.run("SELECT name FROM system.table_functions ORDER BY name FORMAT TSVRaw").split()
    assert len(names) > 80
    assert {name for name in names if not refused(f"SELECT * FROM {name}(1)")} == INSIDE_TABLE_FUNCTIONS


def test_every_table_engine_that_may_be_used_passes_and_every_one_outside_is_refused(clickhouse: ClickHouse) -> None:
    names = clickhouse.run("SELECT name FROM system.table_engines ORDER BY name FORMAT TSVRaw").split()
    passing = {name for name in names if not refused(f"CREATE TABLE t (a Int8) ENGINE = {name}")}
    assert set(ENGINES) <= passing
    assert passing - set(ENGINES) == {"Alias", "Dictionary", "FuzzJSON", "FuzzQuery", "Loop"}  # the grants refuse these


def test_no_function_for_values_is_refused_but_the_one_that_reads_files(clickhouse: ClickHouse) -> None:
    names = clickhouse.run("SELECT name FROM system.functions FORMAT TSVRaw").split()
    assert len(names) > 1500
    assert [name for name in names if refused(f"SELECT {name}(1)")] == ["file"]


def test_grants_hold_where_the_guard_knows_no_name(clickhouse: ClickHouse) -> None:
    for statement in (
        "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'id' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
        "CREATE USER u",
        "GRANT ALL ON *.* TO default",
        "SYSTEM SHUTDOWN",
        "BACKUP DATABASE default TO File('/tmp/x')",
    ):
        assert clickhouse.ask(body=statement.encode()).status == 403, statement


def test_a_name_of_a_file_is_no_table(clickhouse: ClickHouse) -> None:
    for name in ("'/etc/passwd'", "`/etc/passwd`"):
        response = clickhouse.ask(body=f"SELECT * FROM {name}".encode())
        assert (response.status, response.headers["X-ClickHouse-Exception-Code"]) == (404, "60")
