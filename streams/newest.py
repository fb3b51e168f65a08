"""The newest row of every symbol on its way to Redis: what a newer row overtakes within a few milliseconds is not written."""

from collections.abc import Sequence
from time import perf_counter
from typing import Final

from schemas.rows import Latest
from streams.ports import LatestStore, Meter

EVERY_S: Final = 0.005
"""A write waits for its answer, which costs as much as folding a small stretch: polls of all partitions share one."""


class NewestRows:
    """Written at most every `every_s`; so that nothing stays behind, the source calls `tend` while it has nothing to read."""

    def __init__(self, store: LatestStore, meter: Meter, every_s: float = EVERY_S) -> None:
        self._store, self._meter, self._every_s = store, meter, every_s
        self._pending: dict[str, Latest] = {}
        self._written = 0.0

    def add(self, rows: Sequence[Latest]) -> None:
        """Take the newest rows, those of a partition in the order of its log."""
        self._pending.update((row.symbol, row) for row in rows)
        self.tend()

    def tend(self) -> None:
        """Write what is pending, if it is time."""
        if self._pending and perf_counter() - self._written >= self._every_s:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        if self._pending:
            began = perf_counter()
            self._store.write(list(self._pending.values()))
            self._pending = {}
            self._written = perf_counter()
            self._meter.observe("tickwire_score_stage_seconds", self._written - began, stage="redis")
