"""`docs/fault-matrix.md` names tests that exist, for every row it promises, and forgets none of the matrix."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = (ROOT / "docs" / "fault-matrix.md").read_text()
ROW: Final = re.compile(r"^\| (\d+) \| (.*) \|$", re.MULTILINE)
NODE: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISED: Final = {*range(1, 21), *range(22, 32), *range(35, 46)}
ROWS: Final = {int(row): NODE.findall(line) for row, line in ROW.findall(TABLE)}


@cache
def functions_of(path: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_every_row_of_the_matrix_is_in_the_table() -> None:
    assert set(ROWS) == PROMISED


@pytest.mark.parametrize("row", sorted(ROWS))
def test_every_row_names_tests_that_exist(row: int) -> None:
    assert ROWS[row], f"row {row} names no test"
    for path, name in ROWS[row]:
        assert name in functions_of(path), f"row {row}: {path} has no test {name}"


def test_every_test_of_the_matrix_is_in_the_table() -> None:
    named = {node for nodes in ROWS.values() for node in nodes}
    for path in sorted((ROOT / "tests" / "faults" / "matrix").glob("test_*.py")):
        where = str(path.relative_to(ROOT))
        assert {(where, name) for name in functions_of(where)} <= named, where
