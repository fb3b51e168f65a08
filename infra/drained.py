"""Closed logs that were folded to their end, and the recovery stores that nobody needs any more."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.log_identity import LogIdentity
from infra.private import private_folder

FOLDER: Final = "drained"
STEP: Final = re.compile(r"[0-9a-f]{12}")


class Drained:
    """Marks beside the recovery stores: a file a closed log and partition, with how many of its records could not be folded."""

    def __init__(self, root: Path) -> None:
        self._root, self._marks = root, root / FOLDER

    def unfinished(self, log: LogIdentity, partitions: Iterable[int]) -> list[int]:
        """Partitions of a closed log that were not folded to their end, and have something in them."""
        return [
            p
            for p in partitions
            if (log.end(p) or 0) > log.start(p) and not (self._marks / f"{log.log_id}-{p}").exists()
        ]

    def mark(
        self, log: LogIdentity, partitions: Iterable[int], passed: Mapping[int, int],
        gaps: Iterable[tuple[int, int, int]] = (),
    ) -> None:  # fmt: skip
        """Everything of these is committed. passed: by partition, records that retention took before they were folded; gaps:
        (partition, first, next) of those that a rebuild went on without.
        """
        lost = Counter(passed)
        for partition, first, after in gaps:
            lost[partition] += after - first
        private_folder(self._marks)
        for partition in partitions:
            (self._marks / f"{log.log_id}-{partition}").write_text(str(lost[partition]))

    def lost(self, logs: Sequence[LogIdentity]) -> int:
        """Records of these logs that retention passed before they were folded."""
        found = [path.read_text() for log in logs for path in self._marks.glob(f"{log.log_id}-[0-9]*")]
        return sum(int(count or 0) for count in found)

    def tidy(self, group: str, logs: Sequence[LogIdentity], step: str) -> list[Path]:
        """Remove a group's stores of closed logs and of former computations; call it when every closed log is drained
        and the state of this step is there: until then the old one is what there is.

        logs: oldest first, the last is the current one. What was removed.
        """
        kept, removed = self._root / f"{group}-{logs[-1].log_id}-{step}", []
        for log in logs:
            for path in self._root.glob(f"{group}-{log.log_id}-*"):
                if path != kept and path.is_dir() and STEP.fullmatch(path.name.rpartition("-")[2]):
                    shutil.rmtree(path)
                    removed.append(path)
        return removed
