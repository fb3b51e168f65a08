"""Native blocks for clients of newer revisions: another client's reader, given that revision, reads what the engine wrote."""

from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from clickhouse_driver import defines
from clickhouse_driver.bufferedreader import BufferedReader
from clickhouse_driver.context import Context
from clickhouse_driver.streams.native import BlockInputStream

from infra.embedded.revisions import CUSTOM_SERIALIZATION, newer_blocks
from tests.infra.embedded.conftest import ClickHouse

QUERY = """SELECT toUInt64(number) AS a, toString(number) AS b, toLowCardinality(toString(number % 3)) AS c,
    if(number % 2 = 0, NULL, number / 4) AS d, arrayMap(x -> toString(x), range(number % 4)) AS e,
    map('k', toInt16(number)) AS f, toDateTime64('2024-01-02 03:04:05.678', 9, 'UTC') AS g,
    CAST('x', 'Enum8(\\'x\\' = 1)') AS h, (toUInt8(1), 'two') AS i, toDecimal64(number, 2) AS j
    FROM numbers({rows})"""


class Buffer(BufferedReader):  # type: ignore[misc]
    """The driver's buffer over bytes."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(max(1, len(raw)))
        self._raw = BytesIO(raw)

    def read_into_buffer(self) -> None:
        piece = self._raw.read(len(self.buffer))
        self.buffer[: len(piece)] = piece
        self.current_buffer_size = len(piece)
        if not piece:
            raise EOFError


def read_by_the_driver(raw: bytes) -> list[tuple[Any, ...]]:
    context = Context()
    context.server_info = SimpleNamespace(used_revision=CUSTOM_SERIALIZATION, get_timezone=lambda: "UTC")
    context.settings, context.client_settings = (
        {},
        {"strings_as_bytes": False, "strings_encoding": "utf-8", "use_numpy": False},
    )
    stream = BlockInputStream(Buffer(raw), context)
    rows: list[tuple[Any, ...]] = []
    while True:
        try:
            rows.extend(stream.read().get_rows())
        except EOFError:
            return rows


def test_another_reader_of_that_revision_reads_the_same_rows(clickhouse: ClickHouse) -> None:
    assert CUSTOM_SERIALIZATION == defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
    query = QUERY.format(rows=1000)
    newer = clickhouse.ask(query + " FORMAT Native", client_protocol_version=str(CUSTOM_SERIALIZATION))
    expected = clickhouse.run(f"SELECT a, b, c, d, length(e), f['k'], j FROM ({query}) FORMAT TSV")
    rows = read_by_the_driver(newer.body)
    assert len(rows) == 1000
    told = [
        "\t".join(["\\N" if value is None else str(value) for value in (a, b, c, d, len(e), f["k"])])
        for a, b, c, d, e, f, *_ in rows
    ]
    assert told[1:4] == [line.rpartition("\t")[0] for line in expected.splitlines()][1:4]
    assert [row[4] for row in rows[:3]] == [[], ["0"], ["0", "1"]]
    assert {row[7:9] for row in rows} == {("x", (1, "two"))}


@pytest.mark.parametrize("settings", [{}, {"wait_end_of_query": "1"}])
def test_many_blocks_are_each_rewritten(clickhouse: ClickHouse, settings: dict[str, str]) -> None:
    answer = clickhouse.ask(
        QUERY.format(rows=150_000), default_format="Native", client_protocol_version="54460", settings=settings
    )
    rows = read_by_the_driver(answer.body)
    assert [row[0] for row in rows] == list(range(150_000))


def test_older_revisions_get_what_the_engine_writes(clickhouse: ClickHouse) -> None:
    plain = clickhouse.ask("SELECT 1 FORMAT Native").body
    assert clickhouse.ask("SELECT 1 FORMAT Native", client_protocol_version="54405").body == plain
    assert clickhouse.ask("SELECT 1 FORMAT Native", client_protocol_version="54454").body != plain


def test_statements_that_are_no_select_are_rewritten_too(clickhouse: ClickHouse) -> None:
    clickhouse.run("CREATE TABLE IF NOT EXISTS revised (n UInt64) ENGINE = Memory")
    answer = clickhouse.ask("DESCRIBE TABLE revised", default_format="Native", client_protocol_version="54460")
    assert [row[:2] for row in read_by_the_driver(answer.body)] == [("n", "UInt64")]


def test_a_type_whose_end_cannot_be_found_is_refused_with_what_to_do(clickhouse: ClickHouse) -> None:
    answer = clickhouse.ask("SELECT '{}'::JSON AS j FORMAT Native", client_protocol_version="54460")
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    assert "toString(j)" in answer.text


def test_no_blocks_are_no_blocks() -> None:
    assert newer_blocks(b"") == b""
