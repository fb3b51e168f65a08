"""ClickHouse's HTTP interface, asked the way curl asks it."""

import gzip
import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus

import lz4.frame
import pyarrow as pa
import pytest
import zstandard

from infra.embedded.answers import OURS, STATUS
from infra.embedded.blocks import packed, unpacked
from tests.infra.embedded.conftest import ClickHouse
from tests.services.processes import until

ENCODINGS: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "deflate": (zlib.compress, zlib.decompress),
    "lz4": (lz4.frame.compress, lz4.frame.decompress),
    "zstd": (
        zstandard.ZstdCompressor().compress,
        lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    ),
}
TOO_SLOW = (
    "SELECT sum(number) FROM numbers(100000000000) "
    "SETTINGS max_execution_time = 0.2, timeout_before_checking_execution_speed = 0"
)


def table(clickhouse: ClickHouse, name: str, columns: str = "a UInt32, b String") -> str:
    """A fresh table in database `http`."""
    clickhouse.run("CREATE DATABASE IF NOT EXISTS http")
    clickhouse.run(
        f"CREATE OR REPLACE TABLE http.{name} ({columns}) ENGINE = MergeTree ORDER BY tuple() "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    return f"http.{name}"


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


def running(clickhouse: ClickHouse) -> str:
    return clickhouse.run("SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%'")


def test_one_connection_serves_many_requests_and_errors_do_not_end_it(clickhouse: ClickHouse) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", clickhouse.port)
    connection.connect()
    kept = connection.sock
    for number in range(20):
        connection.request("POST", "/", body=b"SELECT nothing" if number % 3 == 0 else b"SELECT 1")
        response = connection.getresponse()
        response.read()
        assert response.status == (404 if number % 3 == 0 else 200)
    big = b"INSERT INTO nowhere FORMAT CSV\n" + b"1,x\n" * 1_000_000
    connection.request("POST", "/", body=big)
    response = connection.getresponse()
    assert (response.status, response.read()[:8]) == (404, b"Code: 60")
    assert connection.sock is kept
    connection.close()


def test_a_body_over_the_limit_is_refused_with_413_and_a_word_about_it(clickhouse: ClickHouse) -> None:
    with socket.create_connection(("127.0.0.1", clickhouse.port)) as client:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
        client.sendall(head)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"--max-body-mib" in answer


def test_a_request_from_a_web_page_is_refused(clickhouse: ClickHouse) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Host": "rebound.example:8123"}):
        assert clickhouse.ask("SELECT 1", headers=headers).status == 403
    for headers in ({"Origin": "http://localhost:3000"}, {"Host": f"localhost:{clickhouse.port}"}):
        assert clickhouse.ask("SELECT 1", headers=headers).status == 200


def test_users_and_sessions_are_accepted(clickhouse: ClickHouse) -> None:
    by_header = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "secret"}
    assert clickhouse.ask("SELECT 1", headers=by_header).text == "1\n"
    assert clickhouse.ask("SELECT 1", headers={"Authorization": "Basic ZGVmYXVsdDp4"}).text == "1\n"
    assert clickhouse.ask("SELECT 1", user="default", password="x", session_id="s", session_timeout="60").text == "1\n"


def test_a_path_that_is_not_served_is_404(clickhouse: ClickHouse) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", clickhouse.port)
    connection.request("GET", "/dashboard?query=SELECT+1")
    assert connection.getresponse().status == 404
    connection.close()


def test_a_slow_select_does_not_hold_up_inserts(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "parallel")
    slow = threading.Thread(target=lambda: clickhouse.ask("SELECT sleep(3) FROM numbers(1)"))
    slow.start()
    until("the slow select running", lambda: "sleep" in running(clickhouse), within_s=5)
    for number in range(5):
        assert clickhouse.ask(f"INSERT INTO {name} VALUES", body=b"(%d, 'x')" % number).status == 200
    assert clickhouse.run(f"SELECT count() FROM {name}") == "5\n"
    assert slow.is_alive()
    slow.join()


def test_selects_and_inserts_from_many_threads_do_not_disturb_each_other(clickhouse: ClickHouse) -> None:
    name = table(clickhouse, "threads", "worker UInt8, n UInt32")
    problems: list[str] = []

    def work(worker: int) -> None:
        for number in range(25):
            inserted = clickhouse.ask(
                f"INSERT INTO {name} FORMAT TSV",
                body=b"%d\t%d\n" % (worker, number),
                insert_deduplication_token=f"{worker}-{number}",
            )
            answer = clickhouse.ask(
                f"SELECT count(), {{w:UInt8}}, getSetting('max_block_size') FROM {name} WHERE worker = {{w:UInt8}}",
                param_w=str(worker),
                max_block_size=str(1000 + worker),
            )
            if inserted.status != 200 or answer.text != f"{number + 1}\t{worker}\t{1000 + worker}\n":
                problems.append(f"{worker}: {inserted.text} {answer.text}")

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert problems == []
    assert clickhouse.run(f"SELECT count(), uniqExact(worker, n) FROM {name}") == "200\t200\n"


def test_a_query_is_killed_by_the_id_its_client_gave_it(clickhouse: ClickHouse) -> None:
    answers: list[str] = []
    endless = "SELECT count() FROM numbers(1000000000000) WHERE sin(number) > 2"
    victim = threading.Thread(target=lambda: answers.append(clickhouse.ask(endless, query_id="it's mine").text))
    victim.start()
    until("the query running", lambda: endless in running(clickhouse), within_s=5)
    killed = clickhouse.run("KILL QUERY WHERE query_id = 'it\\'s mine' SYNC")
    victim.join(10)
    assert endless in killed
    assert answers[0].startswith("Code: 394.")


def test_a_client_that_leaves_a_long_answer_does_not_leave_the_query_running(clickhouse: ClickHouse) -> None:
    with socket.create_connection(("127.0.0.1", clickhouse.port)) as client:
        client.sendall(
            b"GET /?query=SELECT+number,%27left%27+FROM+numbers(100000000000) HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    until("the query ending", lambda: "left" not in running(clickhouse), within_s=10)


def test_a_long_answer_is_not_held_in_memory(clickhouse: ClickHouse) -> None:
    def resident_mib() -> int:
        with open(f"/proc/{clickhouse.program.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096 >> 20

    before = resident_mib()
    connection = http.client.HTTPConnection("127.0.0.1", clickhouse.port)
    connection.request("POST", "/", body=b"SELECT number, number, number FROM numbers(30000000) FORMAT RowBinary")
    response = connection.getresponse()
    size = most = 0
    while piece := response.read(1 << 20):
        size += len(piece)
        most = max(most, resident_mib())
    connection.close()
    assert size == 30_000_000 * 24
    assert most - before < 300


def test_a_result_that_must_be_whole_and_is_too_large_is_refused(clickhouse: ClickHouse) -> None:
    query = "SELECT number FROM numbers(1000000000) FORMAT JSON"
    response = clickhouse.ask(query, max_result_bytes="1000000", result_overflow_mode="throw")
    assert response.headers["X-ClickHouse-Exception-Code"] == "396"


def test_parameters_may_come_in_a_form(clickhouse: ClickHouse) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT {x:String}\r\n'
        b'--b\r\nContent-Disposition: form-data; name="param_x"\r\n\r\nlong\r\n--b--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert clickhouse.ask(body=body, headers=headers).text == "long\n"
    external = body.replace(b'name="param_x"', b'name="t"; filename="t.csv"')
    assert clickhouse.ask(body=external, headers=headers).status == 501


def test_it_does_not_wait_with_its_answer(clickhouse: ClickHouse) -> None:
    """No delayed acknowledgement, no Nagle: a small query takes milliseconds on a kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", clickhouse.port)
    took = []
    for _ in range(30):
        begun = time.perf_counter()
        connection.request("POST", "/", body=b"SELECT 1")
        connection.getresponse().read()
        took.append(time.perf_counter() - begun)
    connection.close()
    assert sorted(took)[15] < 0.035
