"""The auditor of a scoring process: counts, again and again, what ClickHouse holds of what the fold has counted.

Every `every`: the rows of the last minutes (`recent`) are counted, and those of a part of the last hours, so that a row that is
lost, doubled or deleted is told within a minute while it is young, and within some minutes while it is older.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog

from infra.clickhouse import Database
from infra.settings import Audit
from processors.ledger import DOORS
from schemas.errors import BackendError
from streams.audit import TABLES_OF, Checkpoint, Difference, Notes, Stretch, compared, skipped, stretches
from streams.ports import Meter
from streams.recent import Shelf

OLD_AT_ONCE: Final = 20
"""Older stretches that are counted again in one round."""


COUNTED: Final = np.dtype([("offset", np.int64), ("moment", np.float64), ("counts", np.int64, len(DOORS))])
"""A checkpoint as it is kept for hours; `moment` is of the monotonic clock, s."""


@dataclass
class _Partition:
    """What is audited of one partition, oldest first."""

    points: Shelf = field(default_factory=lambda: Shelf.of(COUNTED))
    found: dict[int, Mapping[str, Difference]] = field(default_factory=dict)
    """By first offset of a stretch that does not add up."""
    turn: int = 0

    def add(self, checkpoint: Checkpoint, moment: float) -> None:
        if not len(self.points) or checkpoint.offset > self.points.kept["offset"][-1]:
            self.points.room(1)[0] = (checkpoint.offset, moment, checkpoint.counts)

    def forget(self, before: float) -> None:
        """Drop the stretches that ended before this moment; two checkpoints stay."""
        ended = int((self.points.kept["moment"][1:-1] < before).sum())
        if ended:
            for gone in self.points.forget(int(self.points.kept["offset"][ended]))["offset"].tolist():
                self.found.pop(gone, None)

    def take(self, counted: Mapping[int, Mapping[str, Difference]]) -> None:
        """Remember the stretches that do not add up, forget those that do by now."""
        for first, differences in counted.items():
            self.found.pop(first, None)
            if any(each != Difference() for each in differences.values()):
                self.found[first] = differences

    def due(self, recent_after: float) -> list[list[Stretch]]:
        """Runs of stretches to be counted now: the recent ones, and the next of the older ones."""
        old = int((self.points.kept["moment"][1:] < recent_after).sum())
        begin = self.turn if self.turn < old else 0
        self.turn = begin + OLD_AT_ONCE
        again = slice(begin, min(old, self.turn) + 1)
        return [run for at in (again, slice(old, None)) if (run := stretches(self._between(at)))]

    def _between(self, at: slice) -> list[Checkpoint]:
        points = self.points.kept[at]
        return [
            Checkpoint(offset, tuple(counts))
            for offset, counts in zip(points["offset"].tolist(), points["counts"].tolist(), strict=True)
        ]


class Auditor:
    """Rounds on a thread of its own. `stored`: the offset up to which every row of a partition is in ClickHouse for certain."""

    def __init__(
        self, database: Database, name: str, log_id: str, notes: Notes, stored: Callable[[int], int], meter: Meter,
        settings: Audit,
    ) -> None:  # fmt: skip
        self._database, self._name, self._log_id = database, name, log_id
        self._notes, self._stored, self._meter = notes, stored, meter
        self._every_s = settings.every.total_seconds()
        self._recent_s, self._horizon_s = settings.recent.total_seconds(), settings.horizon.total_seconds()
        self._partitions: dict[int, _Partition] = {}
        self._began: dict[int, int] = {}
        self._waiting: dict[int, Checkpoint] = {}

    def run(self, stop: threading.Event) -> None:
        """Audit until told to stop; a round that ClickHouse does not answer is told and left out."""
        remembered = False
        while not stop.wait(self._every_s):
            try:
                remembered = remembered or self._remember()
                self.round(time.monotonic())
                self._meter.gauge("tickwire_audit_checked_timestamp_seconds", time.time())
            except BackendError as error:
                self._meter.count("tickwire_audit_failures_total")
                structlog.get_logger().warning("nothing was audited", reason=str(error))

    def round(self, now: float) -> None:
        """Take the newest counts, count what is due, tell."""
        for number, newest in list(self._notes.newest.items()):
            audited = self._partitions.setdefault(number, _Partition())
            if not len(audited.points) and number in self._notes.began:
                audited.add(Checkpoint(self._notes.began[number], (0,) * len(DOORS)), now)
            waiting = self._waiting.setdefault(number, newest)
            if self._stored(number) >= waiting.offset - 1:
                audited.add(waiting, now)
                self._waiting[number] = newest
            audited.forget(now - self._horizon_s)
            for run in audited.due(now - self._recent_s):
                audited.take(self._counted(number, run))
            self._tell_skipped(number, newest)
        self._tell()

    def _remember(self) -> bool:
        """Counts of the last hours from the ledger, so that a restart forgets nothing."""
        found = self._database.rows(
            f"SELECT src_partition, src_offset, first_offset, date_diff('second', ts_broker, now64(3)), {', '.join(DOORS)} "  # noqa: S608
            f"FROM `{self._name}`.ledger FINAL "
            "WHERE log_id = {log_id:String} AND ts_broker > now64(3) - INTERVAL {horizon:UInt32} SECOND "
            "ORDER BY src_partition, src_offset",
            {"log_id": self._log_id, "horizon": round(self._horizon_s)},
        )
        now = time.monotonic()
        for number, offset, first, age_s, *counts in found.rows:
            self._began[int(number)] = int(first)
            checkpoint = Checkpoint(int(offset), tuple(int(count) for count in counts))
            self._partitions.setdefault(int(number), _Partition()).add(checkpoint, now - int(age_s))
        return True

    def _counted(self, number: int, run: Sequence[Stretch]) -> dict[int, Mapping[str, Difference]]:
        """Each stretch's rows against what must be there."""
        edges = [stretch.first for stretch in run]
        each = " UNION ALL ".join(
            f"SELECT '{group}' AS held, roundDown(src_offset, {{edges:Array(Int64)}}) AS first, count() AS n "  # noqa: S608
            f"FROM `{self._name}`.`{table}` WHERE log_id = {{log_id:String}} AND src_partition = {{partition:UInt16}} "
            "AND src_offset >= {low:Int64} AND src_offset < {high:Int64} GROUP BY first"
            for group, tables in TABLES_OF.items()
            for table in tables
        )
        rows = self._database.rows(
            f"SELECT held, first, sum(n) FROM ({each}) GROUP BY held, first",  # noqa: S608
            {"edges": edges, "log_id": self._log_id, "partition": number, "low": run[0].first, "high": run[-1].end},
        ).rows
        found: dict[int, dict[str, int]] = {first: {} for first in edges}
        for group, first, n in rows:
            found[int(first)][str(group)] = int(n)
        return {stretch.first: compared(stretch, found[stretch.first]) for stretch in run}

    def _tell_skipped(self, number: int, newest: Checkpoint) -> None:
        began = self._notes.began.get(number, self._began.get(number))
        if began is not None:
            gap = skipped(began, newest)
            self._meter.gauge("tickwire_score_ledger_mismatch_records", gap, partition=str(number))

    def _tell(self) -> None:
        for group in TABLES_OF:
            total = Difference()
            for audited in self._partitions.values():
                total = sum((found[group] for found in audited.found.values()), total)
            self._meter.gauge("tickwire_audit_missing_rows", total.missing, table=group)
            self._meter.gauge("tickwire_audit_extra_rows", total.extra, table=group)
            if total != Difference():
                structlog.get_logger().error(
                    "rows do not add up", table=group, missing=total.missing, extra=total.extra, log_id=self._log_id,
                    todo="`tickwire verify` tells which",
                )  # fmt: skip
