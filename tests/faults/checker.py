"""The checker: holds the history in ClickHouse and the messages against the log, record by record, and counts what is wrong.

It shares no code with what it judges, but for the client that asks ClickHouse. What the fold computes (features, scores)
is judged by `reference.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.clickhouse import Database
from tests.faults.doors import (
    CONTROL,
    CORRECTION,
    DUPLICATE,
    FOLDED,
    LATE,
    REJECTED,
    REPEATED,
    TABLE,
    VALUES,
    Judged,
)  # fmt: skip
from tests.faults.log_records import stretches

PER_RECORD: Final = ("trades", "quotes", "news", "corrections", "marks", "dead_letters")
"""Of which a record has a row in one."""
DERIVED: Final = ("features", "predictions")
"""Of which every folded event has a row in each."""
KEYS: Final[Mapping[str, str]] = {
    **dict.fromkeys((*PER_RECORD, *DERIVED, "ledger"), "log_id, src_partition, src_offset"),
    "outcomes": "log_id, src_partition, src_offset, symbol, ts_event, predicted_offset, horizon_ns",
    "bars": "log_id, src_partition, src_offset, symbol, kind, start, rev",
}


@dataclass
class Findings:
    """What was found, counted; `details` says where."""

    events: int = 0
    lost: int = 0
    duplicate: int = 0
    wrong: int = 0
    mismatched_feature_bits: int = 0
    gaps: int = 0
    details: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, count: int, why: str) -> None:
        """Count `count` more of `lost`, `duplicate`, `wrong`, `mismatched_feature_bits` or `gaps`."""
        if count:
            setattr(self, what, getattr(self, what) + int(count))
            self.details[f"{what}: {why}"] += int(count)

    def join(self, other: "Findings") -> None:
        """Add what somebody else found."""
        for what in ("events", "lost", "duplicate", "wrong", "mismatched_feature_bits", "gaps"):
            setattr(self, what, getattr(self, what) + getattr(other, what))
        self.details += other.details

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not (self.lost or self.duplicate or self.wrong or self.mismatched_feature_bits or self.gaps)


class Checker:
    """Judges one log's history. `tables`: those that are there."""

    def __init__(self, database: Database, log_id: str, log: Mapping[int, Judged]) -> None:
        self._database, self._log_id, self._log = database, log_id, log
        names = database.rows("SELECT name FROM system.tables WHERE database = currentDatabase()").column("name")
        self._tables = set(names)
        self.found = Findings(events=sum(map(len, log.values())))

    def acknowledged(self, identities: set[tuple[object, ...]], everywhere: set[tuple[object, ...]]) -> None:
        """Each of these was acknowledged: it is on the log; those of `everywhere` are in all partitions."""
        there: set[tuple[object, ...]] = set().union(*(judged.identities for judged in self._log.values()))
        self.found.add("lost", len(identities - there), "acknowledged, and not on the log")
        for judged in self._log.values():
            self.found.add("lost", len(everywhere - judged.identities), "acknowledged, and not in every partition")

    def records(self) -> None:
        """Every record has its row, once, in the right table, with the right values; and there is no other row."""
        for partition, judged in self._log.items():
            rows = {table: self._offsets(table, partition, judged) for table in (*PER_RECORD, *DERIVED)}
            for table in PER_RECORD:
                self._hold(table, rows[table], _expected(table, judged, "marks" in self._tables))
            for table in DERIVED:
                self._hold(table, rows[table], (judged.door == FOLDED, judged.door == FOLDED))
            for kind, table in TABLE.items():
                self._values(table, kind, partition, judged)
        self._strangers()

    def _hold(self, table: str, rows: NDArray[Any], expected: tuple[NDArray[Any], NDArray[Any]]) -> None:
        must, may = expected
        self.found.add("lost", int((must & (rows == 0)).sum()), f"no row in {table}")
        self.found.add("duplicate", int(np.maximum(rows - 1, 0).sum()), f"more than one row in {table}")
        self.found.add("wrong", int((~may & (rows > 0)).sum()), f"a row in {table} that must not be there")

    def _offsets(self, table: str, partition: int, judged: Judged) -> NDArray[Any]:
        """How many rows each record has."""
        counts = np.zeros(len(judged), np.int64)
        if table not in self._tables:
            return counts
        found = self._rows(
            f"SELECT src_offset, count() FROM {table} WHERE src_partition = {partition} AND mine GROUP BY 1"
        )
        if found:
            offset, count = np.array(found, np.int64).T
            at = offset - judged.first
            known = (at >= 0) & (at < len(judged))
            self.found.add("wrong", int(count[~known].sum()), f"a row in {table} without a record")
            counts[at[known]] = count[known]
        return counts

    def _values(self, table: str, kind: str, partition: int, judged: Judged) -> None:
        """What is stored is what the record says."""
        late = "late" if kind in ("trade", "quote", "news") else "false"
        of_kind = f" AND kind = '{kind}'" if table == "corrections" else ""
        columns = ", ".join(VALUES[kind])
        found = self._rows(
            f"SELECT src_offset, seq, ts_event, ts_ingest, {columns}, {late}, symbol FROM {table} "
            f"WHERE src_partition = {partition}{of_kind} AND mine"
        )
        at = np.array([row[0] for row in found], np.int64) - judged.first
        found = [row for row, i in zip(found, at.tolist(), strict=True) if 0 <= i < len(judged)]
        if not found:
            return
        offset, seq, ts_event, ts_ingest, first, second, marked, symbol = zip(*found, strict=True)
        at = np.array(offset, np.int64) - judged.first
        same = (judged.numbers[at] == np.array([seq, ts_event, ts_ingest], np.int64).T).all(axis=1)
        same &= (judged.values[at] == np.array([first, second], np.float64).T).all(axis=1)
        same &= (judged.door[at] == LATE) == np.array(marked, np.bool_)
        same &= np.array([judged.symbol[i] == name for i, name in zip(at.tolist(), symbol, strict=True)], np.bool_)
        self.found.add("wrong", int((~same).sum()), f"a row in {table} that says something else than its record")

    def _strangers(self) -> None:
        """Rows of another log or partition than ours, and rows that FINAL would take away."""
        partitions = ", ".join(map(str, self._log))
        for table, key in KEYS.items():
            if table in self._tables:
                ((raw, strange, keys),) = self._rows(
                    f"SELECT count(), countIf(NOT (mine) OR src_partition NOT IN ({partitions})), uniqExact({key}) "
                    f"FROM {table}"
                )
                ((final,),) = self._rows(f"SELECT count() FROM {table} FINAL")
                self.found.add("wrong", strange, f"a row in {table} of another log")
                self.found.add("duplicate", final - keys, f"a row in {table} that FINAL leaves twice")
                if table in ("ledger", "outcomes", "bars"):  # the others are held against the log, one by one
                    self.found.add("duplicate", raw - keys, f"more than one row in {table}")

    def ledger(self) -> None:
        """Every line counts the records before its own, and each of them by one door."""
        for partition, judged in self._log.items():
            doors = np.zeros((len(judged) + 1, 7), np.int64)
            np.cumsum(np.eye(7, dtype=np.int64)[judged.door], axis=0, out=doors[1:])
            lines = self._rows(
                "SELECT src_offset, first_offset, events_in, folded, late, rejected, duplicate + control FROM ledger "
                f"FINAL WHERE src_partition = {partition} AND mine ORDER BY 1"
            )
            for offset, first, events_in, *counts in lines:
                was = doors[offset - judged.first]
                rest = was[[DUPLICATE, CONTROL, CORRECTION, REPEATED]].sum()
                right = first == judged.first and events_in == offset - first == sum(counts)
                right &= counts == [was[FOLDED], was[LATE], was[REJECTED], rest]
                self.found.add("wrong", int(not right), "a line in ledger that does not add up")

    def messages(self, bootstrap: str, topic: str) -> None:
        """Every folded event was told of on the topic of predictions; where more than once, with the same words."""
        for partition, judged in self._log.items():
            told: dict[int, int] = {}
            for part in stretches(bootstrap, topic, partition):
                for raw in part.values:
                    message = msgspec.json.decode(raw)
                    offset, words = message["src_offset"], hash(raw)
                    same = told.setdefault(offset, words) == words and message["src_partition"] == partition
                    self.found.add("wrong", int(not same), "a message that was told in other words before")
            folded = set((np.flatnonzero(judged.door == FOLDED) + judged.first).tolist())
            self.found.add("gaps", len(folded - told.keys()), "a folded event of which no message tells")
            self.found.add("wrong", len(told.keys() - folded), "a message about no folded event")

    def _rows(self, sql: str) -> Sequence[tuple[Any, ...]]:
        return self._database.rows(sql.replace("mine", "log_id = {log_id:String}"), {"log_id": self._log_id}).rows


def _expected(table: str, judged: Judged, marks: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """(records that must have a row in this table, records that may)."""
    door, kind = judged.door, np.array([TABLE.get(each, "") for each in judged.kind])
    if table == "dead_letters":
        return door == REJECTED, door == REJECTED
    if table == "marks":
        must = np.isin(door, (CONTROL, DUPLICATE)) if marks else np.zeros(len(door), np.bool_)
        return must, must | (door == REPEATED)
    must = np.isin(door, (FOLDED, LATE, CORRECTION)) & (kind == table)
    return must, must | ((door == REPEATED) & (kind == table))
