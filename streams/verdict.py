"""What a verification found: counts that must all be zero, the first findings, and what could not be compared."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any, Final

from streams.comparison import Compared

KEPT: Final = 100
"""Findings that are told one by one; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the log says."""

    what: str
    """lost, duplicate, unexpected, differs or gap."""
    table: str
    partition: int
    offset: int
    column: str = ""
    expected: str = ""
    found: str = ""


@dataclass(slots=True)
class Verdict:
    """Counts of a whole verification."""

    log_id: str
    events: int = 0
    """Records of the log whose consequences were judged."""
    lost: int = 0
    duplicate: int = 0
    """Rows that are there once more, raw."""
    duplicate_final: int = 0
    """The same as `FINAL` shows them."""
    wrong: int = 0
    mismatched_feature_bits: int = 0
    """Rows of features of which at least one bit differs."""
    gaps: int = 0
    """Offsets of the log that no record has, and messages that a feed left out without saying so."""
    rows: Counter[str] = field(default_factory=Counter)
    """Expected rows by table."""
    by_table: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(table, what) to how often."""
    not_compared: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(table, column, why) to how many values."""
    notes: list[str] = field(default_factory=list)
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition to the offsets `[first, end)` that were judged."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing differs."""
        return not (
            self.lost
            or self.duplicate
            or self.duplicate_final
            or self.wrong
            or self.mismatched_feature_bits
            or self.gaps
        )

    def find(self, what: str, table: str, partition: int, offset: int, *told: str) -> None:
        """Count a finding, and keep it if it is among the first; `told`: column, expected, found."""
        self.by_table[table, what] += 1
        if len(self.findings) < KEPT:
            self.findings.append(Finding(what, table, partition, offset, *told))

    def take(self, table: str, partition: int, compared: Compared, feature_names: frozenset[str], why: str) -> None:
        """Add what a stretch of one table showed; differing features are counted apart from other columns."""
        self.lost += len(compared.lost)
        self.duplicate += len(compared.duplicate)
        self.wrong += len(compared.unexpected)
        for what, offsets in (
            ("lost", compared.lost),
            ("duplicate", compared.duplicate),
            ("unexpected", compared.unexpected),
        ):
            for offset in offsets.tolist():
                self.find(what, table, partition, offset)
        bits: set[int] = set()
        others: set[int] = set()
        for differing in compared.differing:
            of_features = table == "features" and differing.column in feature_names
            (bits if of_features else others).update(differing.rows.tolist())
            for offset, expected, found in zip(
                differing.offsets.tolist(), differing.expected, differing.found, strict=True
            ):
                self.find("differs", table, partition, offset, differing.column, shown(expected), shown(found))
        self.mismatched_feature_bits += len(bits)
        self.wrong += len(others)
        for column, values in compared.unknown.items():
            if values:
                self.not_compared[table, column, why] += values

    def numbers(self, kills: int | None) -> dict[str, int | None]:
        """The line that is printed, in its order."""
        return {
            "events": self.events, "kills": kills, "lost": self.lost, "duplicate": self.duplicate, "wrong": self.wrong,
            "mismatched_feature_bits": self.mismatched_feature_bits, "gaps": self.gaps,
        }  # fmt: skip

    def details(self) -> dict[str, Any]:
        """Everything else, for JSON."""
        tables: dict[str, dict[str, int]] = {table: {"rows": rows} for table, rows in sorted(self.rows.items()) if rows}
        for (table, what), times in sorted(self.by_table.items()):
            tables.setdefault(table, {"rows": 0})[what] = times
        return {
            "duplicate_final": self.duplicate_final, "log_id": self.log_id, "tables": tables,
            "ranges": {str(p): list(span) for p, span in sorted(self.ranges.items())},
            "not_compared": told(self), "notes": list(self.notes),
            "findings": [{name: getattr(each, name) for name in Finding.__slots__} for each in self.findings],
        }  # fmt: skip


def told(verdict: Verdict) -> Sequence[dict[str, Any]]:
    """What could not be compared, and why."""
    return [
        {"table": table, "column": column, "why": why, "values": values}
        for (table, column, why), values in sorted(verdict.not_compared.items())
    ]


def shown(value: Any) -> str:
    """A value as a finding tells it: floats with their bits."""
    if isinstance(value, float):
        return f"{value!r} ({pack('>d', value).hex()})"
    return repr(value)
