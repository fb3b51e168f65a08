"""A disk that fails under the recovery store: the worker stops, and after a start with a good disk the history is exact."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import init_db_dir

ROOT = Path(__file__).parents[2]
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
FULL = """
mount -t tmpfs -o size=24m,mode=700 tmpfs "$1"
mkdir "$1/recovery"
"$2" -c "import sys; from pathlib import Path; from bytewax.recovery import init_db_dir; init_db_dir(Path(sys.argv[1]), 1)" \
  "$1/recovery"
head -c 24400000 /dev/zero > "$1/ballast"
"$2" -m tests.infra.recovery_run "$1/recovery" "$1/ballast" 3000
"""


def ran(command: Sequence[str]) -> Any:
    """What the two runs said and stored; both in a process of their own."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_stopped_and_then_exact(told: Any, why: str) -> None:
    first, second = told["said"]
    assert why in first
    assert second == ""
    assert told["stored"] == told["whole"]
    assert len(told["whole"]["features"]) > 1000


def test_a_full_disk_stops_the_worker_and_nothing_is_lost_once_there_is_room(tmp_path: Path) -> None:
    told = ran([*AS_ROOT, "unshare", "-m", "bash", "-ec", FULL, "full", str(tmp_path), sys.executable])
    assert_stopped_and_then_exact(told, "DiskFull")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which makes the fault")
@pytest.mark.parametrize("when", ["13", "31"])
def test_a_sync_that_fails_stops_the_worker_before_anything_counts_as_kept(tmp_path: Path, when: str) -> None:
    recovery, trace = tmp_path / "recovery", tmp_path / "trace"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    fault = ["-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:error=EIO:when={when}"]
    program = [sys.executable, "-m", "tests.infra.recovery_run", str(recovery), str(tmp_path / "ballast"), "1500"]
    told = ran(["strace", "-f", "-o", str(trace), *fault, *program])
    assert "INJECTED" in trace.read_text()
    assert_stopped_and_then_exact(told, "SystemIoFailure")
