"""ClickHouse's HTTP interface, asked the way curl asks it."""

import gzip
import http.client
import json
import zlib
from collections.abc import Callable, Mapping

import lz4.frame
import pyarrow as pa
import pytest
import zstandard

from infra.embedded.blocks import packed, unpacked
from tests.infra.embedded.conftest import ClickHouse
from tests.infra.embedded.http_tables import table

ENCODINGS: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "deflate": (zlib.compress, zlib.decompress),
    "lz4": (lz4.frame.compress, lz4.frame.decompress),
    "zstd": (
        zstandard.ZstdCompressor().compress,
        lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    ),
}


def test_it_says_that_it_is_well(clickhouse: ClickHouse) -> None:
    connection = http.client.HTTPConnection("localhost", clickhouse.port)
    for path in ("/", "/ping", "/replicas_status"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"Ok.\n")
    connection.close()


def test_a_query_may_be_in_the_url_in_the_body_or_in_both(clickhouse: ClickHouse) -> None:
    assert clickhouse.ask("SELECT 1", method="GET").text == "1\n"
    assert clickhouse.ask("SELECT 1").text == "1\n"
    assert clickhouse.ask(body=b"SELECT 1").text == "1\n"
    assert clickhouse.ask("SELECT 1", body=b"+ 1").text == "2\n"


def test_database_parameters_settings_and_format_come_in_the_url(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "url")
    clickhouse.run(f"INSERT INTO {name} VALUES (1, 'x'), (2, 'y')")
    assert clickhouse.ask("SELECT count() FROM url", database="http").text == "2\n"
    assert clickhouse.ask("SELECT getSetting('max_threads')", max_threads="7").text == "7\n"
    assert clickhouse.ask("SELECT 1 AS x", default_format="JSONEachRow").text == '{"x":1}\n'
    assert clickhouse.ask("SELECT currentDatabase()", headers={"X-ClickHouse-Database": "http"}).text == "http\n"
    answer = clickhouse.ask(
        "SELECT {n:UInt8} + 1, {s:String}, {l:Array(String)}", param_n="4", param_s="it's", param_l="['a','b']"
    )
    assert answer.text == "5\tit\\'s\t['a','b']\n"


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        ("String", "a\\tb\\nc\\\\d", "a\tb\nc\\d"),
        ("Nullable(String)", "\\N", None),
        ("String", "ünïcode ’", "ünïcode ’"),
        ("Array(Nullable(UInt8))", "[1,NULL]", [1, None]),
        ("Map(String, UInt8)", "{'k':1}", {"k": 1}),
        ("DateTime64(3, 'UTC')", "2024-01-02 03:04:05.678", "2024-01-02 03:04:05.678"),
    ],
)
def test_a_parameter_is_read_as_tab_separated_text_is(
    clickhouse: ClickHouse, kind: str, written: str, value: object
) -> None:
    answer = clickhouse.ask(f"SELECT {{p:{kind}}} AS v FORMAT JSONEachRow", param_p=written)
    assert json.loads(answer.text) == {"v": value}


def test_settings_and_parameters_of_one_request_are_gone_in_the_next(clickhouse: ClickHouse) -> None:
    clickhouse.ask("SELECT {x:UInt8}", param_x="1", max_block_size="11", database="system")
    assert clickhouse.ask("SELECT currentDatabase(), getSetting('max_block_size') = 11").text == "default\t0\n"
    assert clickhouse.ask("SELECT {x:UInt8}").headers["X-ClickHouse-Exception-Code"] == "456"


def test_the_headers_say_what_was_done(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "headers")
    inserted = clickhouse.ask(f"INSERT INTO {name} FORMAT CSV", body=b"1,x\n2,y\n", query_id="mine")
    summary = json.loads(inserted.headers["X-ClickHouse-Summary"])
    assert (inserted.headers["X-ClickHouse-Query-Id"], summary["written_rows"]) == ("mine", "2")
    assert inserted.headers["X-ClickHouse-Format"] is None
    selected = clickhouse.ask(f"SELECT * FROM {name} FORMAT JSON")
    assert selected.headers["X-ClickHouse-Format"] == "JSON"
    assert selected.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert selected.headers["X-ClickHouse-Server-Display-Name"] == "tickwire"
    assert selected.headers["X-ClickHouse-Timezone"] == "UTC"
    assert len(selected.headers["X-ClickHouse-Query-Id"]) == 36
    assert json.loads(selected.headers["X-ClickHouse-Summary"])["read_rows"] == "2"


@pytest.mark.parametrize(
    "name", ["CSV", "TabSeparated", "JSONEachRow", "Native", "RowBinary", "Values", "Parquet", "ArrowStream"]
)
def test_what_one_table_gives_out_another_takes_in(clickhouse: ClickHouse, name: str) -> None:
    columns = "a UInt32, b String, c Nullable(Float64), d DateTime64(9, 'UTC'), e LowCardinality(String), f Array(Int8)"
    source, target = table(clickhouse, f"out_{name}", columns), table(clickhouse, f"in_{name}", columns)
    clickhouse.run(
        f"INSERT INTO {source} SELECT number, concat('it''s\\t', toString(number)), if(number % 3 = 0, NULL, number / 7), "
        "toDateTime64('2024-01-01 00:00:00.123456789', 9, 'UTC') + number, toString(number % 5), [1, -1] FROM numbers(150000)"
    )
    given = clickhouse.ask(f"SELECT * FROM {source} FORMAT {name}")
    assert given.status == 200
    taken = clickhouse.ask(f"INSERT INTO {target} FORMAT {name}", body=given.body)
    assert taken.status == 200, taken.text
    digest = "SELECT count(), sum(cityHash64(a, b, ifNull(c, -1), d, e, f)) FROM "
    assert clickhouse.run(digest + target) == clickhouse.run(digest + source)
    assert clickhouse.run(f"SELECT count() FROM {target}") == "150000\n"


def test_a_format_with_a_frame_is_one_document_however_long(clickhouse: ClickHouse) -> None:
    answer = clickhouse.ask("SELECT number FROM numbers(200000) FORMAT JSONCompact")
    assert len(json.loads(answer.text)["data"]) == 200_000
    assert clickhouse.run("SELECT number FROM numbers(200000) FORMAT CSVWithNames").count("number") == 1
    arrow = clickhouse.ask("SELECT number FROM numbers(200000) FORMAT ArrowStream").body
    assert pa.ipc.open_stream(arrow).read_all().num_rows == 200_000


def test_totals_come_behind_the_rows(clickhouse: ClickHouse) -> None:
    answer = clickhouse.run("SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k")
    assert answer == "0\t5\n1\t5\n\n0\t10\n"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_may_come_packed(clickhouse: ClickHouse, encoding: str) -> None:
    name = table(clickhouse, f"packed_{encoding}")
    pack, _ = ENCODINGS[encoding]
    data = b"".join(b"%d,row %d\n" % (number, number) for number in range(100_000))
    response = clickhouse.ask(f"INSERT INTO {name} FORMAT CSV", body=pack(data), headers={"Content-Encoding": encoding})
    assert response.status == 200, response.text
    whole = pack(f"INSERT INTO {name} FORMAT CSV\n7,seven\n".encode())
    assert clickhouse.ask(body=whole, headers={"Content-Encoding": encoding}).status == 200
    assert clickhouse.run(f"SELECT count(), sum(a) FROM {name}") == f"100001\t{sum(range(100_000)) + 7}\n"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_answer_comes_packed_when_asked(clickhouse: ClickHouse, encoding: str) -> None:
    query = "SELECT number FROM numbers(200000)"
    plain = clickhouse.ask(query, headers={"Accept-Encoding": encoding})
    response = clickhouse.ask(query, headers={"Accept-Encoding": encoding}, enable_http_compression="1")
    assert plain.headers["Content-Encoding"] is None
    assert response.headers["Content-Encoding"] == encoding
    assert ENCODINGS[encoding][1](response.body) == plain.body
    assert len(response.body) < len(plain.body)


def test_clickhouses_own_blocks_go_in_and_out(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "blocks")
    body = packed(f"INSERT INTO {name} FORMAT CSV\n1,x\n".encode()) + packed(b"2,y\n")
    assert clickhouse.ask(body=body, decompress="1").status == 200
    answer = clickhouse.ask(f"SELECT * FROM {name} ORDER BY a", compress="1")
    assert b"".join(unpacked([answer.body])) == b"1\tx\n2\ty\n"
    error = clickhouse.ask("SELECT * FROM nowhere", compress="1")
    assert b"".join(unpacked([error.body])).startswith(b"Code: 60. ")


def test_the_engines_own_files_are_blocks_that_we_can_read(clickhouse: ClickHouse) -> None:
    """An oracle for the checksum and the header: the engine wrote these, not we."""
    name = table(clickhouse, "files", "a UInt64 CODEC(LZ4), z UInt64 CODEC(ZSTD), n UInt64 CODEC(NONE)")
    clickhouse.run(f"ALTER TABLE {name} MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0")
    clickhouse.run(f"INSERT INTO {name} SELECT number, number, number FROM numbers(50000)")
    values = b"".join(number.to_bytes(8, "little") for number in range(50_000))
    (folder,) = (clickhouse.program.log.parent / "data").glob("data/store/*/*/all_1_1_0/z.bin")
    for column in "azn":
        assert b"".join(unpacked([folder.with_name(f"{column}.bin").read_bytes()])) == values
