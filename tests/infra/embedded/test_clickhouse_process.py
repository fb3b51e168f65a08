"""The process that owns the engine: it starts, stops, is killed, and keeps what it acknowledged."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.clickhouse import answers, command
from tests.infra.embedded.conftest import ClickHouse
from tests.services.processes import Program, free_ports, until

DDL = "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ClickHouse]:
    """An engine that the test may stop and kill."""
    (port,) = free_ports(1)
    program = Program(command(tmp_path / "data", port), tmp_path / "log")
    program.start()
    program.await_ready(lambda: answers(port), within_s=20)
    yield ClickHouse(port, program)
    program.stop()


def test_a_path_may_have_characters_that_mean_something_in_an_address(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    program = Program(command(tmp_path / "R&D?x=1 #%41" / "data", port), tmp_path / "log")
    program.start()
    program.await_ready(lambda: answers(port), within_s=20)
    own = ClickHouse(port, program)
    assert "SOURCES" not in own.run("SHOW GRANTS")
    own.run(DDL)
    own.run("INSERT INTO t VALUES (1)")
    program.stop()
    restart(own)
    assert own.run("SELECT n FROM t") == "1\n"
    program.stop()


def restart(clickhouse: ClickHouse) -> None:
    clickhouse.program.start()
    clickhouse.program.await_ready(lambda: answers(clickhouse.port), within_s=20)


def blocks_of(clickhouse: ClickHouse, size: int) -> int:
    """How many blocks of the engine's own memory, of this many bytes, are in use."""
    return int(clickhouse.run(f"SELECT allocations - deallocations FROM system.jemalloc_bins WHERE size = {size}"))


def test_nothing_is_remembered_of_what_was_counted(clickhouse: ClickHouse) -> None:
    clickhouse.run("CREATE TABLE counted (n UInt64) ENGINE = MergeTree ORDER BY n")
    clickhouse.run("INSERT INTO counted SELECT number FROM numbers(1000)")
    before = 0
    for number in range(700):
        if number == 200:
            before = blocks_of(clickhouse, 48)
        clickhouse.run(f"SELECT n % 3 AS m, count() FROM counted WHERE n > {number} GROUP BY m")
    assert blocks_of(clickhouse, 48) - before < 250


def test_nothing_is_remembered_of_conditions_and_the_allocator_takes_our_advice(clickhouse: ClickHouse) -> None:
    clickhouse.run("CREATE TABLE conditions (n UInt64) ENGINE = MergeTree ORDER BY tuple()")
    clickhouse.run("INSERT INTO conditions SELECT number FROM numbers(100000)")
    for number in range(3):
        assert clickhouse.run(f"SELECT count() FROM conditions WHERE n = {number}") == "1\n"
    kept = clickhouse.run("SELECT value FROM system.metrics WHERE metric = 'QueryConditionCacheEntries'")
    assert kept.strip() in ("", "0")
    compiled = clickhouse.run("SELECT name FROM system.settings WHERE name LIKE 'compile_%' AND value != '0'")
    assert compiled.split() == ["compile_regular_expressions"]  # which are kept by their own count
    advice = clickhouse.run("SELECT stats FROM system.jemalloc_stats FORMAT TSVRaw")
    told = dict(line.strip().split(": ", 1) for line in advice.splitlines() if ": " in line)
    assert told["opt.tcache_max"] == "1024"
    assert told["opt.dirty_decay_ms"].startswith("1000 ")
    limits = "'concurrent_part_removal_threshold', 'max_bytes_to_merge_at_max_space_in_pool', 'min_bytes_for_wide_part'"
    parts = clickhouse.run(f"SELECT value FROM system.merge_tree_settings WHERE name IN ({limits}) ORDER BY name")
    assert parts.split() == ["1000000", str(1 << 30), str(1 << 30)]


def test_a_restart_keeps_the_data_and_the_port(own: ClickHouse) -> None:
    own.run(DDL)
    own.run("CREATE DATABASE d")
    own.run("CREATE TABLE d.t (n UInt64) ENGINE = MergeTree ORDER BY n")
    for name in ("t", "d.t"):
        own.run(f"INSERT INTO {name} SELECT number FROM numbers(1000)")
    for _ in range(2):
        own.program.stop()
        restart(own)
        assert [own.run(f"SELECT count(), sum(n) FROM {name}") for name in ("t", "d.t")] == ["1000\t499500\n"] * 2


def test_sigterm_lets_running_requests_end_and_exits_with_0(own: ClickHouse) -> None:
    idle = http.client.HTTPConnection("127.0.0.1", own.port)
    idle.request("POST", "/", body=b"SELECT 1")
    idle.getresponse().read()
    outcome: list[str] = []
    slow = threading.Thread(target=lambda: outcome.append(own.run("SELECT sleep(2.5), 'done'")))
    slow.start()
    until("the slow query running", lambda: "done" in own.run("SHOW PROCESSLIST FORMAT Vertical"), within_s=30)
    child = own.program.child
    assert child is not None
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    slow.join()
    idle.close()
    assert outcome == ["0\tdone\n"]


def cut_off(clickhouse: ClickHouse, query: str) -> None:
    """Ask, and hear an error, or nothing."""
    try:
        assert clickhouse.ask(query).status == 500
    except (http.client.HTTPException, ConnectionError):
        return


def test_sigterm_cuts_off_what_would_never_end_and_still_closes_cleanly(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    script = (
        "import sys\nfrom infra.embedded import clickhouse\nclickhouse.STOP_WITHIN_S = 0.5\n"
        f"sys.exit(clickhouse.main(['--path', {str(tmp_path / 'data')!r}, '--port', '{port}']))"
    )
    program = Program([sys.executable, "-c", script], tmp_path / "log")
    program.start()
    program.await_ready(lambda: answers(port), within_s=20)
    own = ClickHouse(port, program)
    with socket.create_connection(("127.0.0.1", port)) as stalled:  # asks for much and reads nothing
        stalled.sendall(b"GET /?query=SELECT+number+FROM+numbers(100000000000) HTTP/1.1\r\nHost: localhost\r\n\r\n")
        query = "SELECT count() FROM numbers(1000000000000) WHERE sin(number) > 2"
        endless = threading.Thread(target=cut_off, args=(own, query))
        endless.start()
        until("both running", lambda: own.run("SHOW PROCESSLIST").count("numbers(") == 2, within_s=30)
        child = program.child
        assert child is not None
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
        endless.join()
    assert (tmp_path / "data" / "stopped_cleanly").exists()


def test_killed_at_any_moment_it_keeps_every_row_it_acknowledged_and_none_twice(own: ClickHouse) -> None:
    """Each row is inserted with a token of its own, again until it is acknowledged, over several kills."""
    own.run(DDL)
    acknowledged = 0
    for _ in range(4):
        killer = threading.Timer(0.3, own.program.kill)
        killer.start()
        try:
            while True:
                own.run(f"INSERT INTO t VALUES ({acknowledged})", insert_deduplication_token=str(acknowledged))
                acknowledged += 1
        except (OSError, http.client.HTTPException):
            killer.join()
        restart(own)
    own.run(f"INSERT INTO t VALUES ({acknowledged})", insert_deduplication_token=str(acknowledged))
    total = acknowledged + 1
    assert acknowledged > 20
    assert own.run("SELECT count(), uniqExact(n), max(n) FROM t") == f"{total}\t{total}\t{acknowledged}\n"


def test_the_token_of_an_insert_that_was_cut_off_is_free_again(own: ClickHouse) -> None:
    """The engine logs a token before it commits the part: killed between the two, it would drop the retry and say nothing."""
    own.run(DDL)
    for number in range(3):
        own.run(f"INSERT INTO t VALUES ({number})", insert_deduplication_token=str(number))
    own.program.kill()
    data = own.program.log.parent / "data"
    (cut_off,) = data.glob("data/store/*/*/all_3_3_0")
    shutil.rmtree(cut_off)  # as if the kill had come before its rename
    restart(own)
    assert own.run("SELECT count() FROM t") == "2\n"
    for _ in range(2):
        for number in range(3):
            own.run(f"INSERT INTO t VALUES ({number})", insert_deduplication_token=str(number))
    assert own.run("SELECT count(), uniqExact(n) FROM t") == "3\t3\n"


def test_tokens_of_merged_parts_are_kept_over_a_kill(own: ClickHouse) -> None:
    own.run(DDL)
    for number in range(4):
        own.run(f"INSERT INTO t VALUES ({number})", insert_deduplication_token=str(number))
    own.run("OPTIMIZE TABLE t FINAL")
    own.program.kill()
    restart(own)
    for number in range(4):
        own.run(f"INSERT INTO t VALUES ({number})", insert_deduplication_token=str(number))
    assert own.run("SELECT count(), uniqExact(n) FROM t") == "4\t4\n"


def test_a_second_process_on_the_same_path_is_refused_by_name(own: ClickHouse, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    second = subprocess.run(command(tmp_path / "data", port), capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert "another process owns the ClickHouse data" in second.stderr
    assert own.run("SELECT 1") == "1\n"


def test_a_taken_port_is_refused_by_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        started = subprocess.run(
            command(tmp_path / "data", port), capture_output=True, text=True, timeout=20, check=False
        )
    assert started.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be taken" in started.stderr


def test_it_listens_on_loopback_only(own: ClickHouse) -> None:
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert f"0100007F:{own.port:04X}" in listening
    assert f"00000000:{own.port:04X}" not in listening


def comm_of(task: Path) -> str:
    """The name of a thread, empty when it has just ended."""
    try:
        return (task / "comm").read_text()
    except OSError:
        return ""


def test_threads_do_not_grow_with_connections(own: ClickHouse) -> None:
    def threads() -> int:
        """Ours; the engine names its own."""
        return sum(comm_of(task).startswith("python") for task in Path(f"/proc/{own.program.pid}/task").iterdir())

    before = threads()

    def burst() -> None:
        connections = [http.client.HTTPConnection("127.0.0.1", own.port) for _ in range(60)]
        for connection in connections:
            connection.request("POST", "/", body=b"SELECT 1")
        for connection in connections:
            assert connection.getresponse().read() == b"1\n"
        for connection in connections:
            connection.close()

    for _ in range(5):
        burst()
    until("the threads of 300 connections ending", lambda: threads() <= before + 2, within_s=10)


def test_more_connections_than_allowed_are_told_so(own: ClickHouse) -> None:
    held = [socket.create_connection(("127.0.0.1", own.port)) for _ in range(128)]
    try:
        until("a connection being refused", lambda: not answers(own.port), within_s=30)
        with socket.create_connection(("127.0.0.1", own.port)) as late:
            late.settimeout(5)
            assert late.recv(100).startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in held:
            connection.close()
    until("room for new ones", lambda: answers(own.port), within_s=30)


@pytest.mark.skipif(
    "no kernel sandbox"
    in subprocess.run(
        [sys.executable, "-c", "from infra.embedded.sandbox import confine; print(confine([], listen_on=[]))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout,
    reason="this kernel has no Landlock",
)
def test_the_kernel_lets_it_touch_its_own_folder_and_nothing_else(tmp_path: Path) -> None:
    """Even with every grant: what guard and grants would miss, the kernel refuses."""
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    (port,) = free_ports(1)
    script = f"""
import os, socket
from pathlib import Path
from infra.embedded.sandbox import confine
path = Path({str(tmp_path / "data")!r})
path.mkdir()
print(confine([path], listen_on=[{port}]))
os.environ["TMPDIR"] = str(path)
from infra.embedded.chdb_engine import Engine, Options
from infra.embedded.answers import EngineError
engine = Engine(path, allow_outside=True)
def attempt(statement):
    with engine.session(Options()) as session:
        try:
            print("done", session.query(statement, "TSV").body)
        except EngineError as error:
            print("refused", error.code)
attempt("SELECT file({str(secret)!r})")
attempt("SELECT 1 INTO OUTFILE {str(tmp_path / "out")!r}")
attempt("SELECT * FROM url('http://127.0.0.1:{port}/', 'CSV', 'a String') SETTINGS http_max_tries = 1")
attempt("SELECT 1")
socket.create_server(("127.0.0.1", {port})).close()
engine.close()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    first, *outcomes = ran.stdout.splitlines()
    assert first.startswith("kernel sandbox")
    assert [outcome.split()[0] for outcome in outcomes] == ["refused", "refused", "refused", "done"]
    assert not (tmp_path / "out").exists()


def test_it_starts_within_a_second_of_processor_time(own: ClickHouse) -> None:
    fields = Path(f"/proc/{own.program.pid}/stat").read_text().rpartition(")")[2].split()
    assert (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") < 1.5
