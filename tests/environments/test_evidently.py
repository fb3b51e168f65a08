"""Evidently's page of two matrices, made in its own environment."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors.features import FEATURE_NAMES
from streams.matrix_files import schema

pytestmark = [pytest.mark.own_environment, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "infra" / "reports" / "evidently_report.py"
ROWS = 600
DRIFTED, COLD = FEATURE_NAMES[0], FEATURE_NAMES[1]


def matrix(directory: Path, seed: int, scale: Mapping[str, float]) -> Path:
    """Two pieces as `tickwire nightly` writes them, every number normal; COLD is never warm."""
    (directory / "pieces").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    declared = schema(FEATURE_NAMES)
    for piece in range(2):
        columns = {field.name: rng.normal(0, scale.get(field.name, 1.0), ROWS) for field in declared}
        columns[COLD] = np.full(ROWS, np.nan)
        arrays = [
            pa.array(["A"] * ROWS)
            if field.type == pa.string()
            else pa.array(columns[field.name]).cast(field.type, safe=False)
            for field in declared
        ]
        pq.write_table(pa.Table.from_arrays(arrays, schema=declared), directory / "pieces" / f"p00-{piece:06}.parquet")
    return directory


def report(python: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(python), str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=600
    )


def test_the_page_shows_the_feature_that_drifted_and_leaves_out_what_has_no_number(
    tmp_path: Path, evidently_python: Path
) -> None:
    reference, current = matrix(tmp_path / "r", 1, {}), matrix(tmp_path / "c", 2, {DRIFTED: 3.0})
    out = tmp_path / "pages" / "drift.html"
    done = report(evidently_python, current, reference, "--out", out, "--rows", ROWS)
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stdout.splitlines()[-1]
    assert told.startswith(f"{out}: {ROWS} rows against {ROWS}, ")
    assert told.endswith(f" of {len(FEATURE_NAMES) + 1} columns drifted; left out: {COLD}")
    assert int(told.split(", ")[1].split()[0]) >= 1
    page = out.read_text()
    assert "<html" in page[:2000]
    assert all(name in page for name in FEATURE_NAMES if name != COLD)


def test_a_matrix_drifts_from_itself_in_no_column(tmp_path: Path, evidently_python: Path) -> None:
    same = matrix(tmp_path / "m", 1, {})
    done = report(evidently_python, same, same, "--out", tmp_path / "d.html", "--rows", ROWS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f" {ROWS} rows against {ROWS}, 0 of " in done.stdout


def test_a_directory_without_a_matrix_is_refused(tmp_path: Path, evidently_python: Path) -> None:
    done = report(evidently_python, tmp_path, tmp_path)
    assert done.returncode == 1
    assert "expected a matrix of `tickwire nightly` (pieces/*.parquet), found none" in done.stderr
