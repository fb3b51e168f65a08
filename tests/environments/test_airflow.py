"""The DAG in a real Airflow: it is parsed, its tasks call `tickwire` in their order, and the calendar decides."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from infra.nightly.night_runs import NightRun, NightRuns

pytestmark = [pytest.mark.own_environment, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
DAG = ROOT / "infra" / "airflow" / "tickwire_nightly.py"
STUB = '#!/bin/sh\necho "$@" >> "$SAID"\n[ "$1" = nightly-due ] && exit "$GATE"\nexit 0\n'
REAL = f'#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} -m tests.environments.gate "$@"\n'
SCENARIOS = {
    "due": {"conf": {}, "tickwire": "stub", "GATE": "0"},
    "asked for": {"conf": {"date": "2026-11-27"}, "tickwire": "stub", "GATE": "0"},
    "nothing due": {"conf": {}, "tickwire": "stub", "GATE": "99"},
    "cannot be told": {"conf": {}, "tickwire": "stub", "GATE": "2"},
    "trading day": {"conf": {"date": "2026-11-25"}, "tickwire": "real"},
    "thanksgiving": {"conf": {"date": "2026-11-26"}, "tickwire": "real"},
    "done already": {"conf": {"date": "2026-11-24"}, "tickwire": "real"},
}
ROOMS: Mapping[str, str] = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGS_FOLDER": str(DAG.parent),
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False", "DO_NOT_TRACK": "1", "SCARF_ANALYTICS": "false",
}  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("airflow")
    for name, script in (("stub", STUB), ("real", REAL)):
        program = found / name / "tickwire"
        program.parent.mkdir()
        program.write_text(script)
        program.chmod(0o755)
    done = NightRun(day=date(2026, 11, 24), calendar="XNYS", log_id="log", spans={}, state="done", exit_code=0)
    NightRuns(found / "state" / "schedule").write(done)
    return found


@pytest.fixture(scope="module")
def told(directory: Path, airflow_python: Path) -> Mapping[str, Any]:
    """What Airflow said of the DAG, and the states of its tasks in each scenario, in one process: it starts slowly."""
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "TICKWIRE", "PYTHON"))
    }
    database = f"sqlite:///{directory / 'airflow.db'}"
    env = {**plain, **ROOMS, "AIRFLOW_HOME": str(directory), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
    asked = [
        {
            "conf": each["conf"],
            "env": {
                "PATH": f"{directory / str(each['tickwire'])}:{plain['PATH']}", "GATE": str(each.get("GATE", "")),
                "SAID": str(directory / f"{name}.said"), "STATE": str(directory / "state"),
            },
        }
        for name, each in SCENARIOS.items()
    ]  # fmt: skip
    _run([str(airflow_python.with_name("airflow")), "db", "migrate"], env)
    runs = Path(__file__).with_name("airflow_runs.py")
    found: Mapping[str, Any] = json.loads(_run([str(airflow_python), str(runs), str(DAG), json.dumps(asked)], env))
    return found


def _run(command: list[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def calls(directory: Path, scenario: str) -> list[str]:
    said = directory / f"{scenario}.said"
    return said.read_text().splitlines() if said.exists() else []


def test_the_dag_is_parsed_and_is_thin(told: Mapping[str, Any]) -> None:
    assert told["errors"] == {}
    assert told["dags"] == ["tickwire_nightly"]
    assert told["dag"]["downstream"] == {"due": ["run"], "run": []}
    assert (told["dag"]["catchup"], told["dag"]["max_active_runs"]) == (False, 1)
    assert "30 22 * * *" in told["dag"]["schedule"]


@pytest.mark.parametrize(
    ("scenario", "states", "said"),
    [
        ("due", ("success", "success"), ["nightly-due --json", "nightly-run --json"]),
        (
            "asked for",
            ("success", "success"),
            ["nightly-due --date 2026-11-27 --json", "nightly-run --date 2026-11-27 --json"],
        ),
        ("nothing due", ("skipped", "skipped"), ["nightly-due --json"]),
        ("cannot be told", ("failed", "upstream_failed"), ["nightly-due --json"]),
        (
            "trading day",
            ("success", "success"),
            ["nightly-due --date 2026-11-25 --json", "nightly-run --date 2026-11-25 --json"],
        ),
        ("thanksgiving", ("skipped", "skipped"), ["nightly-due --date 2026-11-26 --json"]),
        ("done already", ("skipped", "skipped"), ["nightly-due --date 2026-11-24 --json"]),
    ],
)
def test_the_run_follows_what_the_gate_says(
    told: Mapping[str, Any], directory: Path, scenario: str, states: tuple[str, str], said: list[str]
) -> None:
    found = told["runs"][list(SCENARIOS).index(scenario)]
    assert (found["due"], found["run"]) == states
    assert calls(directory, scenario) == said
