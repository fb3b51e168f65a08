"""What is written down of nightly runs, and that one is made at a time."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from infra.nightly.night_runs import NightRun, NightRunError, NightRuns, RunHeld

DAY = date(2026, 11, 27)
RUN = NightRun(
    day=DAY, calendar="24/7", log_id="log", spans={0: (100, 200), 3: (0, 5)}, state="failed", tries=2, exit_code=1
)
ROOT = Path(__file__).parents[3]


def test_a_run_is_written_down_and_read_again(tmp_path: Path) -> None:
    runs = NightRuns(tmp_path / "schedule")
    assert runs.read("24/7", DAY) is None
    runs.write(RUN)
    assert runs.read("24/7", DAY) == RUN
    assert runs.read("XNYS", DAY) is None
    assert [path.name for path in runs.directory.iterdir()] == ["24-7-2026-11-27.json"]


@pytest.mark.parametrize("raw", [b"", b'{"day": "2026-11-27"', b"[]"])
def test_a_file_that_is_damaged_is_named(tmp_path: Path, raw: bytes) -> None:
    runs = NightRuns(tmp_path)
    runs.path("24/7", DAY).write_bytes(raw)
    with pytest.raises(
        NightRunError, match=r"24-7-2026-11-27.json: expected what is known of a nightly run.*delete it"
    ):
        runs.read("24/7", DAY)


def test_a_second_run_is_refused_while_the_first_lives_and_let_in_after(tmp_path: Path) -> None:
    runs = NightRuns(tmp_path)
    with runs.locked(), pytest.raises(RunHeld, match=rf"process {os.getpid()} .*wait for its end"), runs.locked():
        pass
    with runs.locked():
        pass


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom infra.nightly.night_runs import NightRuns\n"
        "with NightRuns(Path(sys.argv[1])).locked():\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    runs = NightRuns(tmp_path)
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunHeld, match=f"process {other.pid} "), runs.locked():
            pass
        other.kill()
        other.wait()
    with runs.locked():
        pass
