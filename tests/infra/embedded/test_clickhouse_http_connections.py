"""Connections to ClickHouse's HTTP interface: many at once, long ones, and clients that leave."""

import http.client
import socket
import threading
import time

from tests.infra.embedded.conftest import ClickHouse
from tests.infra.embedded.http_tables import running, table
from tests.services.processes import until


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
    pages = ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Host": "rebound.example:8123"})
    for headers in pages:
        assert clickhouse.ask("SELECT 1", headers=headers).status == 403
    for headers in ({"Origin": "http://localhost:3000"}, {"Host": f"localhost:{clickhouse.port}"}):
        assert clickhouse.ask("SELECT 1", headers=headers).status == 200


def test_a_script_or_an_image_of_a_web_page_is_refused_and_nobody_takes_an_answer_for_one(
    clickhouse: ClickHouse,
) -> None:
    page = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    assert clickhouse.ask("SELECT 1", method="GET", headers=page).status == 403
    typed = clickhouse.ask("SELECT 1", method="GET", headers={"Sec-Fetch-Site": "none"})
    assert (typed.status, typed.headers["X-Content-Type-Options"]) == (200, "nosniff")
    assert typed.headers["Cross-Origin-Resource-Policy"] == "same-site"


def test_limits_and_modes_of_a_client_hold_whatever_the_format(clickhouse: ClickHouse) -> None:
    query = "SELECT number FROM numbers(10)"
    for output_format in ("TSV", "JSONCompact"):
        assert clickhouse.ask(f"{query} FORMAT {output_format}", readonly="1").status == 200
    limits = {"max_result_rows": "5", "max_block_size": "5", "result_overflow_mode": "break"}
    assert clickhouse.ask(f"{query} FORMAT JSONCompact", settings=limits).status == 200


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
    slow = threading.Thread(
        target=lambda: clickhouse.ask("SELECT sleepEachRow(1) FROM numbers(8) SETTINGS max_block_size = 1")
    )
    slow.start()
    until("the slow select running", lambda: "sleep" in running(clickhouse), within_s=30)
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
    until("the query running", lambda: endless in running(clickhouse), within_s=30)
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
