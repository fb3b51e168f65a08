"""What a matrix's code digest covers."""

import ast
from collections.abc import Iterator
from pathlib import Path

from infra.nightly.plan import _DECIDING, _ROOT

BEGINS = ("streams/nightly.py", "streams/decode.py", "streams/archive.py", "streams/matrix_files.py", "models/online.py",
          "infra/nightly/training.py")  # fmt: skip
"""Where the fold of a night, its rows and its model begin."""
FOLLOWED = ("schemas", "processors", "models", "streams", "infra.nightly")
NOT_FOLLOWED = {"streams/verify.py"}
"""Only its cutting of stretches is used, which needs none of what it imports."""
DECIDES_NOTHING = {"infra/nightly/plan.py"}
"""It says what is to be made."""


def imported(path: Path) -> Iterator[Path]:
    """Modules of ours that a module imports, also within its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        else:
            continue
        for name in names:
            found = _ROOT / (name.replace(".", "/") + ".py")
            if name.startswith(FOLLOWED) and found.exists():
                yield found


def test_every_entry_names_files() -> None:
    assert [pattern for pattern in _DECIDING if not list(_ROOT.glob(pattern))] == []


def test_every_module_that_the_fold_and_the_training_import_is_in_the_digest() -> None:
    waiting, seen = [_ROOT / name for name in BEGINS], set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in seen and str(path.relative_to(_ROOT)) not in DECIDES_NOTHING:
            seen.add(path)
            waiting += imported(path) if str(path.relative_to(_ROOT)) not in NOT_FOLLOWED else ()
    covered = {path for pattern in _DECIDING for path in _ROOT.glob(pattern)}
    assert sorted(str(path.relative_to(_ROOT)) for path in seen - covered) == []
    assert _ROOT / "models/learning.py" in seen
