"""Evidently's HTML report of a night's matrix against a reference, in an environment of its own (it needs pandas 2).

    python3.11 -m venv evidently-venv
    evidently-venv/bin/pip install 'evidently==0.7.23' 'pandas<3' 'pyarrow>=26'
    evidently-venv/bin/python infra/reports/evidently_report.py MATRIX REFERENCE --out drift.html

MATRIX and REFERENCE are directories that `tickwire nightly` has filled; nothing of tickwire is imported. Rows are sampled: the
page holds what it plots, and a browser does not open a million points.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

os.environ["DO_NOT_TRACK"] = "1"  # asked for at import

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset, DataSummaryPreset

FIRST_COLUMN: Final = "log_return"
"""It, the label and the features behind it are looked at; before it stand identities, times and prices."""


def sampled(directory: Path, rows: int, seed: int) -> Any:
    """At most so many rows of a matrix, the same for the same seed, in the order of its pieces; a pandas frame."""
    pieces = sorted(directory.glob("pieces/*.parquet"))
    if not pieces:
        sys.exit(f"error: {directory}: expected a matrix of `tickwire nightly` (pieces/*.parquet), found none")
    counts = [pq.read_metadata(piece).num_rows for piece in pieces]
    total = sum(counts)
    if total == 0:
        sys.exit(f"error: {directory}: the matrix has no row")
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(rows, total), replace=False))
    starts = np.cumsum([0, *counts])
    found = []
    for piece, start, end in zip(pieces, starts, starts[1:], strict=False):
        ours = chosen[(chosen >= start) & (chosen < end)] - start
        if len(ours):
            found.append(pq.read_table(piece).take(pa.array(ours)))
    table = pa.concat_tables(found)
    return table.select(table.column_names[table.column_names.index(FIRST_COLUMN) :]).to_pandas()


def write_report(current: Any, reference: Any, out: Path) -> tuple[int, Sequence[str], Sequence[str]]:
    """Write the page; returns how many columns have drifted, those looked at, and those left out.

    Left out are columns that only one matrix has, or that hold no number in one of them.
    """
    both = [name for name in current.columns if name in set(reference.columns)]
    columns = [name for name in both if np.isfinite(current[name]).any() and np.isfinite(reference[name]).any()]
    definition = DataDefinition(numerical_columns=columns)
    report = Report([DataDriftPreset(columns=columns), DataSummaryPreset(columns=columns)])
    result = report.run(
        Dataset.from_pandas(current[columns], data_definition=definition),
        Dataset.from_pandas(reference[columns], data_definition=definition),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    result.save_html(str(out))
    counts = [m["value"] for m in result.dict()["metrics"] if m["config"]["type"].endswith(":DriftedColumnsCount")]
    left_out = sorted((set(current.columns) | set(reference.columns)) - set(columns))
    return int(counts[0]["count"]), columns, left_out


def main() -> None:
    """Two matrices in, a page out."""
    parser = argparse.ArgumentParser(
        description="Evidently's report of drift between two matrices of `tickwire nightly`."
    )
    parser.add_argument("matrix", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--out", type=Path, default=Path("drift.html"))
    parser.add_argument("--rows", type=int, default=5_000, help="Sampled of each.")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    current, reference = (sampled(each, asked.rows, asked.seed) for each in (asked.matrix, asked.reference))
    drifted, columns, left_out = write_report(current, reference, asked.out)
    note = f"; left out: {', '.join(left_out)}" if left_out else ""
    print(
        f"{asked.out}: {len(current)} rows against {len(reference)}, {drifted} of {len(columns)} columns drifted{note}"
    )


if __name__ == "__main__":
    main()
