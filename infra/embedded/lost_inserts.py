"""Forget the tokens of inserts that never came to be.

MergeTree writes an insert's deduplication token before it commits the insert's part. Killed between the two, it takes the
retry for a duplicate, answers that all is well, and the rows are lost: measured at 3 of 480 inserts in doubt under SIGKILL.
So, before the engine starts again, a token whose part does not exist, nor any part merged from it, is taken out of the log.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ADDED: Final = "1"
LOGS: Final = "deduplication_logs"
_PART: Final = re.compile(r"(?P<partition>.+)_(?P<first>\d+)_(?P<last>\d+)_\d+(?:_\d+)?\Z")


class _Part(NamedTuple):
    partition: str
    first: int
    last: int


def forget_lost_inserts(data: Path) -> int:
    """Repair every table beneath a data path that no engine has open; how many tokens were taken out."""
    return sum(_repaired(folder) for folder in data.glob(f"store/*/*/{LOGS}"))


def _repaired(logs: Path) -> int:
    present: dict[str, list[_Part]] = {}
    for part in _parts(logs.parent):
        present.setdefault(part.partition, []).append(part)
    forgotten = 0
    for log in sorted(logs.glob("deduplication_log_*.txt")):
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not _is_lost(line, present)]
        if len(kept) < len(lines):
            forgotten += len(lines) - len(kept)
            draft = log.with_suffix(".new")
            draft.write_text("".join(kept), encoding="utf-8")
            draft.replace(log)
    return forgotten


def _is_lost(line: str, present: dict[str, list[_Part]]) -> bool:
    action, _, rest = line.partition("\t")
    part = _parsed(rest.partition("\t")[0])
    if action != ADDED or part is None:
        return False
    return not any(other.first <= part.first and part.last <= other.last for other in present.get(part.partition, ()))


def _parts(table: Path) -> Iterator[_Part]:
    for entry in table.iterdir():
        part = _parsed(entry.name)
        if part is not None and not entry.name.startswith("tmp") and entry.is_dir():
            yield part


def _parsed(name: str) -> _Part | None:
    found = _PART.match(name)
    return None if found is None else _Part(found["partition"], int(found["first"]), int(found["last"]))
