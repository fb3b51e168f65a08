"""However a supervisor ends, nothing of it is left: signals, kills, and what a former one left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.instance import identity, read_run_state
from infra.embedded.ports import free_port
from infra.embedded.supervisor import Supervisor
from tests.infra.embedded.supervised import LISTENS, alive, listens, service
from tests.services.processes import until

UP = """
import sys
from collections.abc import Iterator
from pathlib import Path
from infra.embedded.supervisor import Supervisor
from tests.infra.embedded.supervised import service
try:
    with Supervisor(Path(sys.argv[1]), on_event=lambda text: print(text, flush=True)) as supervisor:
        supervisor.stop_on_signals()
        supervisor.start(*(service(f"s{port}", int(port)) for port in sys.argv[2:]))
        print("up", flush=True)
        supervisor.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """A SIGHUP ends what is started here, also where these tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Up:
    """A supervisor in a process and a process group of its own, as a shell would start it in the foreground."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = [free_port(), free_port()]
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(UP), str(directory), *map(str, self.ports)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        while not self.lines or self.lines[-1] != "up":
            line = self.process.stdout.readline()
            assert line, f"the supervisor ended early: {self.lines}"
            self.lines.append(line.strip())
        state = read_run_state(directory)
        assert state is not None
        self.children = [found.pid for found in state.services]
        assert all(alive(pid) for pid in self.children)

    def ended(self) -> tuple[int, str]:
        """Exit status and the rest of the output."""
        rest, _ = self.process.communicate(timeout=20)
        return self.process.returncode, rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    up = Up(tmp_path)
    os.killpg(up.process.pid, number)  # what Ctrl-C does: the whole foreground group gets it
    status, output = up.ended()
    assert status == 0
    assert output.split("\n")[:3] == [f"s{up.ports[1]} stopped", f"s{up.ports[0]} stopped", "interrupted"]
    assert not any(alive(pid) for pid in up.children)
    assert read_run_state(tmp_path) is None


def test_a_hang_up_that_is_ignored_stops_nothing(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; the child inherits it
    try:
        up = Up(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.kill(up.process.pid, signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        up.process.wait(1)
    os.kill(up.process.pid, signal.SIGTERM)
    assert up.ended()[0] == 0


def test_an_impatient_second_ctrl_c_changes_nothing(tmp_path: Path) -> None:
    up = Up(tmp_path)
    for _ in range(3):
        os.killpg(up.process.pid, signal.SIGINT)
    status, _ = up.ended()
    assert status == 0
    assert not any(alive(pid) for pid in up.children)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_a_killed_supervisor_leaves_no_child(tmp_path: Path) -> None:
    up = Up(tmp_path)
    up.process.kill()
    up.ended()
    until("the children ending", lambda: not any(alive(pid) for pid in up.children), within_s=10)


def test_what_a_killed_supervisor_left_is_stopped_by_the_next_one(tmp_path: Path) -> None:
    port = free_port()
    with Supervisor(tmp_path) as running:
        running.start(service("left", port))
        state = (tmp_path / "run.json").read_text()
    orphan = subprocess.Popen(
        [sys.executable, "-S", "-c", LISTENS, str(port)], stdout=subprocess.DEVNULL, start_new_session=True
    )
    until("the orphan listening", lambda: listens(port), within_s=10)
    (recorded,) = (watched.pid for watched in running.services())
    (was,) = (part for part in state.split('"') if part.isdigit() and len(part) > 3)
    state = state.replace(str(recorded), str(orphan.pid)).replace(was, identity(orphan.pid))
    (tmp_path / "run.json").write_text(state)
    reaper = threading.Thread(target=orphan.wait)
    reaper.start()
    with Supervisor(tmp_path):
        reaper.join(30)
        assert orphan.returncode == 0
        assert not listens(port)


def test_a_process_that_only_has_the_number_of_a_recorded_one_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True)
    state = (
        f'{{"pid": 1, "addresses": {{}}, "services": '
        f'[{{"name": "x", "pid": {bystander.pid}, "identity": "1", "ports": {{}}}}]}}'
    )
    (tmp_path / "run.json").write_text(state)
    with Supervisor(tmp_path):
        assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_damaged_run_json_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"pid": ')
    with Supervisor(tmp_path) as running:
        assert read_run_state(tmp_path) is not None
        running.publish({})
