"""Services are started, watched, started again and stopped, and nothing outlives its supervisor."""

import fcntl
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from infra.embedded.instance import LOCK, AlreadyRunning, Instance, read_run_state
from infra.embedded.ports import free_port
from infra.embedded.service import Service, ServiceFailed
from infra.embedded.supervisor import Supervisor
from schemas.errors import SettingsError
from tests.infra.embedded.supervised import DIES, HAS_A_CHILD, STUBBORN, alive, listens, service
from tests.services.processes import until


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, events: list[str]) -> Iterator[Supervisor]:
    with Supervisor(tmp_path / "run", on_event=events.append) as running:
        yield running


def test_start_returns_when_every_service_is_ready(supervisor: Supervisor) -> None:
    ports = [free_port() for _ in range(3)]
    supervisor.start(*(service(f"s{port}", port) for port in ports))
    assert [listens(port) for port in ports] == [True] * 3


def test_services_stop_in_the_reverse_order_of_their_start(tmp_path: Path, events: list[str]) -> None:
    with Supervisor(tmp_path, on_event=events.append) as running:
        for name in ("broker", "database", "writer"):
            running.start(service(name, free_port()))
        pids = [watched.pid for watched in running.services()]
    assert [event for event in events if "stopped" in event] == ["writer stopped", "database stopped", "broker stopped"]
    assert [alive(pid) for pid in pids] == [False] * 3


def test_a_folder_that_others_filled_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for _ in range(2):
        with Supervisor(tmp_path) as supervisor, pytest.raises(SettingsError, match="a folder of tickwire's own"):
            supervisor.empty()
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_of_ours_is_emptied(tmp_path: Path) -> None:
    with Supervisor(tmp_path):
        (tmp_path / "ours").touch()
    with Supervisor(tmp_path) as supervisor:
        supervisor.empty()
    assert not (tmp_path / "ours").exists()


def test_a_service_that_dies_is_started_again_on_its_port(supervisor: Supervisor, events: list[str]) -> None:
    port = free_port()
    supervisor.start(service("fragile", port))
    (watched,) = supervisor.services()
    first = watched.pid
    os.kill(first, signal.SIGKILL)
    until("the service being started again", lambda: watched.pid != first and listens(port), within_s=10)
    assert watched.restarts == 1
    assert any("fragile was killed by signal 9; it is started again in 0.1 s" in event for event in events)
    state = read_run_state(supervisor.directory)
    assert state is not None
    assert [(found.name, found.pid) for found in state.services] == [("fragile", watched.pid)]


def test_a_service_that_keeps_dying_is_given_up_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    with pytest.raises(ServiceFailed, match=r"(?s)hopeless died 5 times within 30 s.*no reason given"):
        supervisor.start(service("hopeless", free_port(), DIES))
    assert supervisor.log_path("hopeless").read_text().count("no reason given") == 5
    with pytest.raises(ServiceFailed, match="hopeless"):
        supervisor.wait()


def test_nothing_more_is_started_beside_one_that_was_given_up_although_its_port_answers(
    supervisor: Supervisor,
) -> None:
    """Somebody else's service answers: what starts next would lean on it."""
    supervisor.start(replace(service("squatted", free_port(), DIES), ready=lambda: True))
    with pytest.raises(ServiceFailed, match="squatted died 5 times"):
        supervisor.start(Service("next", service("x", free_port()).command, lambda: False))


def test_a_service_that_is_not_ready_in_time_is_an_error_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    never = Service("never", service("x", free_port()).command, lambda: False, ready_within=timedelta(seconds=0.5))
    with pytest.raises(ServiceFailed, match=r"(?s)never was not ready within 0.5 s; its log"):
        supervisor.start(never)


def test_a_program_that_does_not_exist_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(ServiceFailed, match=r"(?s)ghost died 5 times.*/nowhere/ghost"):
        supervisor.start(Service("ghost", ["/nowhere/ghost"], lambda: False))


def test_one_that_ignores_sigterm_is_killed_after_its_time(tmp_path: Path, events: list[str]) -> None:
    with Supervisor(tmp_path, on_event=events.append) as running:
        running.start(service("stubborn", free_port(), STUBBORN, stop_after_s=0.3))
        (watched,) = running.services()
    assert "stubborn did not stop within 0:00:00.300000 and was killed" in events
    assert not alive(watched.pid)


def test_what_a_service_started_itself_goes_with_it(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "parent.log"
    with Supervisor(tmp_path) as running:
        running.start(
            Service("parent", [sys.executable, "-c", HAS_A_CHILD], lambda: log.exists() and bool(log.read_text()))
        )
        grandchild = int(log.read_text())
        assert alive(grandchild)
    until("the grandchild ending", lambda: not alive(grandchild), within_s=30)


def test_the_output_of_a_service_is_in_its_log(supervisor: Supervisor) -> None:
    port = free_port()
    supervisor.start(service("talker", port))
    assert supervisor.log_path("talker").read_text() == f"listening on {port}\n"


def test_run_json_says_what_runs_and_where_until_it_ends(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert read_run_state(directory) is None
    with Supervisor(directory) as running:
        port = free_port()
        running.start(service("one", port))
        running.publish({"kafka": "127.0.0.1:9092"})
        state = read_run_state(directory)
        assert state is not None
        assert (state.pid, dict(state.addresses)) == (os.getpid(), {"kafka": "127.0.0.1:9092"})
        assert [(found.name, dict(found.ports)) for found in state.services] == [("one", {"tcp": port})]
    assert read_run_state(directory) is None


def test_a_second_supervisor_on_the_directory_is_refused_and_told_who_is_there(supervisor: Supervisor) -> None:
    supervisor.start(service("first", free_port()))
    with pytest.raises(AlreadyRunning, match=rf"already runs on .* \(process {os.getpid()}\): stop it with Ctrl-C"):
        Supervisor(supervisor.directory)
    assert read_run_state(supervisor.directory) is not None


def test_who_asks_what_runs_keeps_nobody_from_starting(tmp_path: Path) -> None:
    Instance(tmp_path).close()
    with (tmp_path / LOCK).open("rb") as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)  # as `read_run_state` does, for a moment
        threading.Timer(0.05, asked.close).start()
        started = Instance(tmp_path)
    assert read_run_state(tmp_path) is not None
    started.close()


def test_what_is_thrown_away_is_all_but_the_hold_on_the_directory(tmp_path: Path) -> None:
    directory, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    Instance(directory).close()
    (directory / "models").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (directory / "linked").symlink_to(elsewhere)
    (directory / "dev-key").write_text("key")
    with Supervisor(directory) as running:
        running.empty()
        assert {each.name for each in directory.iterdir()} == {"lock", "run.json"}
        assert (elsewhere / "kept").exists()
        with pytest.raises(AlreadyRunning):
            Supervisor(directory)


def test_addresses_with_passwords_are_for_the_owner_alone(tmp_path: Path) -> None:
    with Supervisor(tmp_path / "a" / "run") as running:
        running.publish({"clickhouse_url": "native://writer:secret@host"})
        assert stat.S_IMODE((running.directory / "run.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_nothing_is_started_again_while_everything_is_stopped(tmp_path: Path) -> None:
    """A service that dies as `stop` begins must not come back behind it."""
    for _ in range(5):
        with Supervisor(tmp_path) as running:
            port = free_port()
            running.start(service("racer", port))
            threading.Timer(0.0, os.kill, (running.services()[0].pid, signal.SIGKILL)).start()
        assert not listens(port)


def test_a_listener_that_is_gone_keeps_nothing_from_being_stopped(tmp_path: Path) -> None:
    def gone(_event: str) -> None:
        raise BrokenPipeError("the terminal was closed")

    ports = [free_port(), free_port()]
    with Supervisor(tmp_path, on_event=gone) as running:
        running.start(*(service(f"s{port}", port) for port in ports))
        first = running.services()[0]
        dead = first.pid
        os.kill(dead, signal.SIGKILL)
        until("the service being started again", lambda: first.pid != dead and listens(ports[0]), within_s=10)
    assert not any(listens(port) for port in ports)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watch_that_breaks_off_is_an_error_for_whoever_waits(tmp_path: Path) -> None:
    def broken(event: str) -> None:
        if "started again" in event:
            raise RuntimeError("no more")

    with Supervisor(tmp_path, on_event=broken) as running:
        running.start(service("s", free_port()))
        os.kill(running.services()[0].pid, signal.SIGKILL)
        with pytest.raises(ServiceFailed, match="broke off: RuntimeError"):
            running.wait()
        with pytest.raises(ServiceFailed, match="broke off"):
            running.start(service("t", free_port()))
