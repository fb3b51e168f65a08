"""The nightly as a child: its status, its end with ours, and the lock that it keeps."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.nightly.child import nightly_command, run_child
from infra.nightly.night_runs import NightRuns, RunHeld
from tests.services.processes import until

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pathlib import Path
from infra.nightly.night_runs import NightRuns
from infra.nightly.child import run_child
with NightRuns(Path(sys.argv[1])).locked() as held:
    code, _ = run_child(["/bin/sh", "-c", sys.argv[2]], captured=False, held=held)
sys.exit(code)
"""


def holder(directory: Path, script: str) -> "subprocess.Popen[str]":
    """A process that holds the lock and runs a shell script as its child; the script says its number."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def free(runs: NightRuns) -> bool:
    try:
        with runs.locked():
            return True
    except RunHeld:
        return False


def test_the_command_names_its_stretch_by_partition() -> None:
    assert nightly_command({3: (7, 9), 0: (100, 250)}, as_json=True, command=["tickwire"]) == [
        "tickwire", "nightly", "--from", "0:100,3:7", "--to", "0:250,3:9", "--json",
    ]  # fmt: skip
    assert "--json" not in nightly_command({0: (0, 1)}, as_json=False)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 2", 2), ("kill -9 $$", 137)])
def test_its_status_is_returned(script: str, code: int) -> None:
    assert run_child(["/bin/sh", "-c", f"echo said; {script}"], captured=True) == (code, "said\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_told_to_end_with_us_and_its_status_is_ours(tmp_path: Path, number: signal.Signals) -> None:
    with holder(tmp_path, "trap 'exit 7' TERM; echo $$; while :; do sleep 0.1; done") as process:
        assert said(process).isdigit()
        process.send_signal(number)
        assert process.wait(20) == 7


def test_the_lock_is_held_for_as_long_as_an_orphan_works(tmp_path: Path) -> None:
    runs = NightRuns(tmp_path)
    with holder(tmp_path, "trap '' TERM; echo $$; while [ ! -e done ]; do sleep 0.05; done") as process:
        orphan = int(said(process))
        process.kill()
        process.wait()
        try:
            assert not free(runs)
        finally:
            os.kill(orphan, signal.SIGKILL)
        until("the lock being free", lambda: free(runs), within_s=20)


def test_it_is_told_to_end_when_we_are_killed(tmp_path: Path) -> None:
    with holder(tmp_path, "echo $$; while :; do sleep 0.1; done") as process:
        assert said(process).isdigit()
        process.kill()
        process.wait()
        until("the lock being free", lambda: free(NightRuns(tmp_path)), within_s=20)
