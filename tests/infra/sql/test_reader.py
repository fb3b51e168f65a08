"""What users may ask is answered, and means what they said; what takes too much is stopped, and everything else lives on."""

import io
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.sql.catalogue import QUERIES
from api.sql.named import NamedQuery
from api.sql.ports import SqlFailed, SqlQuery
from infra.sql.reader import GRACE_S, ClickHouseSql
from infra.sql.vocabulary import AGGREGATES, FUNCTIONS, HIGHER_ORDER, WINDOW
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from schemas.errors import DatabaseError, SettingsError
from tests.infra.sql.conftest import FIRST_NS, GUARD, LIMITS, NAME, ROWS, Stored
from tests.infra.sql.questions import BOMBS, QUESTIONS
from tests.services.processes import HOST, free_ports

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240)]


@pytest.mark.parametrize("question", QUESTIONS, ids=[question[:70] for question in QUESTIONS])
def test_a_question_has_the_same_answer_in_our_words(stored: Stored, question: str) -> None:
    asked = SqlQuery(question.rstrip(";"), {}, 100, "as-asked")
    theirs, ours = stored.patient.table(asked), stored.patient.table(replace(asked, sql=GUARD.checked(question)))
    assert ours.rows
    # what a statement leaves open, the engine answers in any order (the halves of a UNION run side by side)
    in_order = list if "order by" in question.lower() else sorted
    assert in_order(map(bytes, ours.rows)) == in_order(map(bytes, theirs.rows))
    assert [column.type for column in ours.columns] == [column.type for column in theirs.columns]


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_named_query_has_rows(stored: Stored, query: NamedQuery) -> None:
    given = {**query.example, "at": "2027-01-01T00:00:00Z"} if "at" in query.example else query.example
    values, wrong = query.bound(given)
    assert not wrong
    answer = stored.patient.table(SqlQuery(query.sql, values, 2, query.name))
    assert answer.rows
    assert len({column.name for column in answer.columns}) == len(answer.columns)


def test_a_moment_sees_no_correction_that_came_later(stored: Stored) -> None:
    def statuses(name: str, **more: str) -> list[str]:
        values, wrong = QUERIES[name].bound({"symbol": "SIMA", **more})
        assert not wrong
        table = stored.patient.table(SqlQuery(QUERIES[name].sql, values, ROWS, name))
        at = [column.name for column in table.columns].index("status")
        return [msgspec.json.decode(row)[at] for row in table.rows]

    before = statuses("trades_as_known", at="2026-11-22T14:30:02.000Z")
    assert 0 < before.count("corrected") < statuses("trades").count("corrected")
    assert len(before) < len(statuses("trades"))


def test_an_answer_says_where_it_was_cut_in_every_format(stored: Stored) -> None:
    for limit, cut in ((3, True), (5, False)):
        query = SqlQuery("SELECT detail, src_offset FROM dead_letters ORDER BY src_offset LIMIT 5", {}, limit, "cut")
        table = stored.patient.table(query)
        assert (len(table.rows), table.cut) == (limit, cut)
        csv = stored.patient.file(query, "csv")
        assert (csv.rows, csv.cut, csv.body.count(b'"line one\nsays ""two""",')) == (limit, cut, limit)
        assert csv.body.startswith(b'"detail","src_offset"\n')
        arrow, parquet = stored.patient.file(query, "arrow"), stored.patient.file(query, "parquet")
        read = [pa.ipc.open_stream(arrow.body).read_all(), pq.read_table(io.BytesIO(parquet.body))]
        assert (arrow.rows, arrow.cut, parquet.rows, parquet.cut) == (limit, cut, limit, cut)
        assert [one.column("src_offset").to_pylist() for one in read] == [list(range(limit))] * 2


def test_an_answer_without_rows_still_has_columns(stored: Stored) -> None:
    query = SqlQuery("SELECT symbol, price, ts_event FROM trades WHERE 0", {}, 5, "none")
    assert [column.name for column in stored.patient.table(query).columns] == ["symbol", "price", "ts_event"]
    assert stored.patient.file(query, "csv").body == b'"symbol","price","ts_event"\n'
    assert pa.ipc.open_stream(stored.patient.file(query, "arrow").body).read_all().column_names == [
        "symbol", "price", "ts_event",
    ]  # fmt: skip


def test_values_are_what_the_rest_of_the_api_says(stored: Stored) -> None:
    query = f"SELECT fromUnixTimestamp64Nano({FIRST_NS + 1}), nan, inf, 18446744073709551615, NULL, true"
    assert stored.ask(query) == ['["2026-11-22T14:30:00.000000001Z", null, null, 18446744073709551615, null, true]']


def test_the_limit_of_rows_is_of_the_answer_and_not_of_what_it_is_made_of(stored: Stored) -> None:
    asked = "WITH c AS (SELECT * FROM trades) SELECT count() FROM c WHERE symbol IN (SELECT symbol FROM quotes)"
    assert stored.ask(GUARD.checked(asked), 1) == [f"[{ROWS}]"]


ALIASES_IN_CAPITALS = {"DATE_DIFF", "toTimezone"}
"""Of functions that are allowed, in other letters."""


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_stopped_and_writers_live_on(stored: Stored, bomb: str) -> None:
    table = f"{NAME}.beside_{uuid.uuid4().hex[:8]}"
    stored.database.command(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a")
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(_write_until, stored, table, done)
        began = time.monotonic()
        try:
            with pytest.raises(SqlFailed) as found:
                stored.reader.table(SqlQuery(GUARD.checked(bomb), {}, 10, "bomb"))
        finally:
            done.set()
        took_s = time.monotonic() - began
        written = writing.result(60)
    assert found.value.limit, found.value
    assert took_s < LIMITS.time_s + GRACE_S + 5
    assert stored.database.rows(f"SELECT count() FROM {table}").rows == [(written,)]
    assert stored.ask("SELECT count() FROM trades") == [f"[{ROWS}]"]


def _write_until(stored: Stored, table: str, done: threading.Event) -> int:
    written = 0
    while not done.wait(0.02):
        written += stored.database.insert(table, {"a": [written]})
    return written


def test_more_rows_than_one_query_may_read_are_not_read(stored: Stored) -> None:
    with closing(ClickHouseSql(stored.engine.url, NAME, replace(LIMITS, time_s=60, rows=ROWS - 1))) as reader:
        with pytest.raises(SqlFailed, match="Limit for rows") as found:
            reader.table(SqlQuery("SELECT count() FROM trades WHERE price > 0", {}, 10, "reads"))
        assert found.value.limit


DAY_NS = 86_400 * 10**9
SCORED_A_DAY = 200_000


@pytest.fixture(scope="module")
def scored_for_days(stored: Stored) -> Iterator[str]:
    """A database with five days of predictions of two symbols; a third was last heard of two hours before the end."""
    name = f"{NAME}_days"
    create_tables(stored.database, name, FEATURE_NAMES)
    for day in range(5):
        at = f"toInt64({FIRST_NS} + {day * DAY_NS} + number * {DAY_NS // SCORED_A_DAY})"
        time_ = f"fromUnixTimestamp64Nano({at})"
        stored.database.command(
            f"INSERT INTO `{name}`.predictions (symbol, ts_event, log_id, src_offset, ts_broker) SELECT "
            f"if(number = {SCORED_A_DAY * 11 // 12}, 'QUIET', ['SIMA', 'SIMB'][number % 2 + 1]), {time_}, 'sim-1', "
            f"{day * SCORED_A_DAY} + number, {time_} FROM numbers({SCORED_A_DAY})"
        )
    minutes = f"fromUnixTimestamp64Nano(toInt64({FIRST_NS} + number * 60000000000))"
    stored.database.command(
        f"INSERT INTO `{name}`.ledger (ts_event, log_id, src_offset, ts_broker) "
        f"SELECT {minutes}, 'sim-1', number, {minutes} FROM numbers(5 * 1440)"
    )
    yield name
    stored.database.command(f"DROP DATABASE `{name}`")


def latest(stored: Stored, name: str, rows: int, **given: str) -> dict[str, int]:
    """Symbol to the offset of its newest score, by a reader that may read so many rows."""
    query = QUERIES["latest_predictions"]
    values, wrong = query.bound(given)
    assert not wrong
    with closing(ClickHouseSql(stored.engine.url, name, replace(LIMITS, time_s=60, rows=rows))) as reader:
        table = reader.table(SqlQuery(query.sql, values, 10, f"latest-{uuid.uuid4()}"))
    at = [column.name for column in table.columns]
    found = [dict(zip(at, msgspec.json.decode(row), strict=True)) for row in table.rows]
    return {row["symbol"]: row["src_offset"] for row in found}


def test_the_latest_predictions_of_a_large_table_are_found_without_reading_it(
    stored: Stored, scored_for_days: str
) -> None:
    newest = 5 * SCORED_A_DAY - 1
    quiet = 4 * SCORED_A_DAY + SCORED_A_DAY * 11 // 12
    few = SCORED_A_DAY * 3 // 4
    assert latest(stored, scored_for_days, few) == {"SIMA": newest - 1, "SIMB": newest}
    three_hours_before_the_end = "2026-11-27T11:30:00Z"
    assert latest(stored, scored_for_days, few, start=three_hours_before_the_end) == {
        "QUIET": quiet, "SIMA": newest - 1, "SIMB": newest,
    }  # fmt: skip
    with pytest.raises(SqlFailed, match="Limit for rows"):
        latest(stored, scored_for_days, few, start="2026-11-20T00:00:00Z")
    assert latest(stored, scored_for_days, 50_000_000, start="2026-11-20T00:00:00Z")["SIMB"] == newest


def test_the_latest_predictions_of_a_log_without_a_ledger_line_are_those_of_all_of_it(stored: Stored) -> None:
    name = f"{NAME}_new"
    create_tables(stored.database, name, FEATURE_NAMES)
    stored.database.command(f"INSERT INTO `{name}`.predictions SELECT * FROM {NAME}.predictions LIMIT 10")
    try:
        assert latest(stored, name, 1_000)
    finally:
        stored.database.command(f"DROP DATABASE `{name}`")


def test_a_query_that_nobody_waits_for_any_more_ends_at_once(stored: Stored) -> None:
    query = SqlQuery(
        "SELECT uniq(a.price * b.price * c.price) FROM trades AS a, trades AS b, trades AS c", {}, 10, "gone"
    )
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(_cancel_until, stored, "gone", done)
        began = time.monotonic()
        try:
            with pytest.raises(SqlFailed, match="cancelled"):
                stored.patient.table(query)
        finally:
            done.set()
        took_s = time.monotonic() - began
        cancelling.result(60)
    assert took_s < 30


def _cancel_until(stored: Stored, query_id: str, done: threading.Event) -> None:
    while not done.wait(0.5):
        stored.patient.cancel(query_id)


def test_a_query_that_cannot_be_killed_because_nobody_answers_is_left_to_its_time() -> None:
    with closing(ClickHouseSql(f"http://{HOST}:{free_ports(1)[0]}", NAME, LIMITS)) as reader:
        reader.cancel("gone")


def test_what_makes_no_sense_is_said_in_the_databases_words_and_without_the_statement(stored: Stored) -> None:
    for statement, said in (
        ("SELECT nope FROM trades", "Unknown expression identifier `nope`"),
        ("SELECT sum(symbol) FROM trades", "Illegal type"),
        ("SELECT price FROM trades GROUP BY symbol", "not under aggregate function"),
        ("SELECT toInt64('x')", "Cannot parse"),
    ):
        with pytest.raises(SqlFailed, match=said) as found:
            stored.ask(GUARD.checked(statement))
        assert not found.value.limit
        assert "SELECT" not in str(found.value)
        assert "version" not in str(found.value)


def test_the_engine_itself_takes_no_change_and_no_looser_limit_from_a_reader(stored: Stored) -> None:
    for statement in (
        f"INSERT INTO {NAME}.trades (symbol) VALUES ('x')", f"DROP TABLE {NAME}.trades", "SET readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0", "SELECT 1 SETTINGS readonly = 0",
        "CREATE TABLE x (a Int8) ENGINE = Memory",
    ):  # fmt: skip
        with pytest.raises((SqlFailed, DatabaseError)):
            stored.ask(statement)
    assert stored.ask("SELECT count() FROM trades") == [f"[{ROWS}]"]


def test_every_function_that_is_allowed_is_one_of_the_engine_and_no_other_differs_in_case_alone(stored: Stored) -> None:
    known = {str(name) for (name,) in stored.database.rows("SELECT name FROM system.functions").rows}
    plain = FUNCTIONS - {f"{name}If" for name in AGGREGATES}
    assert plain - known - WINDOW == set()
    lowered = {name.lower() for name in plain}
    assert {name for name in known if name.lower() in lowered and name not in plain} <= ALIASES_IN_CAPITALS


def test_only_functions_known_to_take_a_lambda_take_a_name_for_one(stored: Stored) -> None:
    """`arrayMap(negate, a)` runs the function `negate`: such a name would come past the list of functions."""
    taken = set()
    for name in sorted(FUNCTIONS - WINDOW - {f"{name}If" for name in AGGREGATES}):
        try:
            stored.database.command(f"EXPLAIN QUERY TREE SELECT {name}(negate, [1, 2])")
            taken.add(name)
        except DatabaseError:
            pass
    assert "arrayMap" in taken <= HIGHER_ORDER


def test_a_reader_speaks_http() -> None:
    with pytest.raises(SettingsError, match="TICKWIRE_SQL__URL"):
        ClickHouseSql("native://127.0.0.1:9000", NAME, LIMITS)
