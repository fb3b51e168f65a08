"""The newest row of every symbol on its way to Redis: what a newer row overtakes within a few milliseconds is not written.

Redis is a cache here. While it does not answer, the fold goes on and the rows wait (one a symbol); when it answers again, and
when it has forgotten what it was told (flushed, started anew), every row goes there once more, also of symbols that do not trade.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Final

from schemas.errors import StoreUnavailable
from schemas.rows import Latest
from streams.ports import LatestStore, Meter

LOG: Final = logging.getLogger(__name__)
EVERY_S: Final = 0.005
"""A write waits for its answer, which costs as much as folding a small stretch: polls of all partitions share one."""
LOOK_EVERY_S: Final = 5.0
"""How often the store is asked whether it has forgotten."""
TRY_EVERY_S: Final = 1.0
"""How often a store that does not answer is tried, from a thread of its own."""
MOST_AT_ONCE: Final = 256
"""Rows in one write: the store does nothing else meanwhile."""
REACHABLE: Final = "tickwire_redis_reachable"


class NewestRows:
    """Written at most every `every_s`; so that nothing stays behind, the source calls `tend` while it has nothing to read."""

    def __init__(
        self, store: LatestStore, meter: Meter, every_s: float = EVERY_S, look_every_s: float = LOOK_EVERY_S,
        try_every_s: float = TRY_EVERY_S,
    ) -> None:  # fmt: skip
        self._store, self._meter = store, meter
        self._every_s, self._look_every_s, self._try_every_s = every_s, look_every_s, try_every_s
        self._known: dict[str, Latest] = {}
        self._pending: dict[str, Latest] = {}
        self._written = 0.0
        self._looked = 0.0
        self._away = False

    def remember(self, log_id: str, partitions: Iterable[int]) -> None:
        """Take the rows of these partitions from the store, where it has some: a process before this one wrote them."""
        mine = set(partitions)
        try:
            rows = self._store.rows()
        except StoreUnavailable as error:
            self._lose(error)
            return
        self._meter.gauge(REACHABLE, 1)
        self._known = {row.symbol: row for row in rows if row.log_id == log_id and row.src_partition in mine}

    def add(self, rows: Sequence[Latest]) -> None:
        """Take the newest rows, those of a partition in the order of its log."""
        newest = {row.symbol: row for row in rows}
        self._known.update(newest)
        self._pending.update(newest)
        self.tend()

    def tend(self) -> None:
        """Write what is pending, if it is time."""
        now = perf_counter()
        if now - self._written >= self._every_s:
            if now - self._looked >= self._look_every_s and not self._away:
                self._look()
            self.flush()

    def flush(self) -> None:
        """Write what is pending, unless the store is away."""
        if not self._pending or self._away:
            return
        began = perf_counter()
        try:
            self._write(list(self._pending.values()))
        except StoreUnavailable as error:
            self._lose(error)
            return
        self._pending = {}
        self._written = perf_counter()
        self._meter.observe("tickwire_score_stage_seconds", self._written - began, stage="redis")

    def _look(self) -> None:
        """A store that has forgotten is told everything again."""
        self._looked = perf_counter()
        try:
            if self._store.forgot():
                self._pending = self._known | self._pending
        except StoreUnavailable as error:
            self._lose(error)

    def _write(self, rows: Sequence[Latest]) -> None:
        for at in range(0, len(rows), MOST_AT_ONCE):
            self._store.write(rows[at : at + MOST_AT_ONCE])

    def _lose(self, error: StoreUnavailable) -> None:
        """Try again from a thread of its own: a store that does not answer must not make the fold wait."""
        LOG.warning("newest rows wait until it answers: %s", error)
        self._away = True
        self._meter.gauge(REACHABLE, 0)
        threading.Thread(target=self._mend, name="redis", daemon=True).start()

    def _mend(self) -> None:
        """Everything once more, in case the store has lost it; what comes meanwhile stays pending."""
        while self._away:
            time.sleep(self._try_every_s)
            try:
                self._store.forgot()
                self._write(list(self._known.values()))
            except StoreUnavailable:
                continue
            self._meter.gauge(REACHABLE, 1)
            self._away = False
