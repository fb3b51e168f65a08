"""Closed logs that were folded to their end, and the recovery stores that nobody needs any more."""

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from infra.log_identity import LogIdentity

FOLDER: Final = "drained"
STEP: Final = re.compile(r"[0-9a-f]{12}")


class Drained:
    """Marks beside the recovery stores: one empty file a closed log and partition."""

    def __init__(self, root: Path) -> None:
        self._root, self._marks = root, root / FOLDER

    def unfinished(self, log: LogIdentity, partitions: Iterable[int]) -> list[int]:
        """Partitions of a closed log that were not folded to their end, and have something in them."""
        return [
            p
            for p in partitions
            if (log.end(p) or 0) > log.start(p) and not (self._marks / f"{log.log_id}-{p}").exists()
        ]

    def mark(self, log: LogIdentity, partitions: Iterable[int]) -> None:
        """Everything of these is committed."""
        self._marks.mkdir(mode=0o700, parents=True, exist_ok=True)
        for partition in partitions:
            (self._marks / f"{log.log_id}-{partition}").touch()

    def tidy(self, group: str, logs: Sequence[LogIdentity], step: str) -> list[Path]:
        """Remove a group's stores of closed logs and of former computations; call it when every closed log is drained.

        logs: oldest first, the last is the current one. What was removed.
        """
        kept, removed = self._root / f"{group}-{logs[-1].log_id}-{step}", []
        for log in logs:
            for path in self._root.glob(f"{group}-{log.log_id}-*"):
                if path != kept and path.is_dir() and STEP.fullmatch(path.name.rpartition("-")[2]):
                    shutil.rmtree(path)
                    removed.append(path)
        return removed
