"""What must add up: records of the log against the doors they left by, and rows in ClickHouse against both.

The fold counts every record by its door. Between two counts lie as many offsets as records, and each table holds as many rows as
its doors say. Rows are counted later and again, so one that is deleted is missed too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from processors.ledger import DOORS
from processors.shard import ShardOutput

EVENTS: Final = "events"
"""All tables that hold what was read: trades, quotes, news, corrections and marks have one row for every record together."""
TABLES_OF: Final[Mapping[str, Sequence[str]]] = {
    "features": ("features",),
    "predictions": ("predictions",),
    EVENTS: ("trades", "quotes", "news", "corrections", "marks"),
    "dead_letters": ("dead_letters",),
}
DOORS_OF: Final[Mapping[str, Sequence[str]]] = {
    "features": ("folded",),
    "predictions": ("folded",),
    EVENTS: ("folded", "duplicate", "late", "control"),
    "dead_letters": ("rejected",),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Records by door since the log began, by `DOORS`, before the record at `offset`."""

    offset: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets `first` to `end` - 1, and the rows that each group of tables must hold of them."""

    first: int
    end: int
    expected: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows too few and rows too many."""

    missing: int = 0
    extra: int = 0

    def __add__(self, other: "Difference") -> "Difference":
        return Difference(self.missing + other.missing, self.extra + other.extra)


@dataclass
class Notes:
    """The newest count of each partition, as the fold goes on; may be read from another thread."""

    newest: dict[int, Checkpoint] = field(default_factory=dict)
    began: dict[int, int] = field(default_factory=dict)
    """First offset of the log, where this process has seen it."""

    def note(self, output: ShardOutput) -> None:
        """Take in the counts after one stretch."""
        stretch, partition = output.stretch, output.partition
        seen = [*stretch.offsets[:1].tolist(), *stretch.offsets[-1:].tolist()]
        seen += [letter.offset for letter in (*stretch.rejected[:1], *stretch.rejected[-1:])]
        if not seen:
            return
        counts = tuple(int(count) for count in output.counts)
        if partition not in self.began and sum(counts) == len(stretch.offsets) + len(stretch.rejected):
            self.began[partition] = min(seen)
        self.newest[partition] = Checkpoint(max(seen) + 1, counts)


def stretches(checkpoints: Sequence[Checkpoint]) -> list[Stretch]:
    """What lies between one count and the next."""
    return [
        Stretch(a.offset, b.offset, {group: _between(a, b, doors) for group, doors in DOORS_OF.items()})
        for a, b in pairwise(checkpoints)
    ]


def _between(a: Checkpoint, b: Checkpoint, doors: Sequence[str]) -> int:
    return sum(b.counts[DOORS.index(door)] - a.counts[DOORS.index(door)] for door in doors)


def skipped(began: int, newest: Checkpoint) -> int:
    """Offsets from the first of the log on that no door has counted; below 0 where records were counted twice."""
    return newest.offset - began - sum(newest.counts)


def compared(stretch: Stretch, found: Mapping[str, int]) -> dict[str, Difference]:
    """Of each group of tables; `found`: how many rows each holds of the stretch."""
    return {
        group: Difference(max(0, expected - found.get(group, 0)), max(0, found.get(group, 0) - expected))
        for group, expected in stretch.expected.items()
    }
