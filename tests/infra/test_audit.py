"""The auditor: what is young is counted in every round, what is older in turn, and what does not add up is told until it does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from infra.audit import OLD_AT_ONCE, Auditor
from infra.clickhouse import Database, Result
from infra.settings import Audit
from processors.ledger import DOORS
from streams.audit import Checkpoint, Notes
from tests.fakes import NoMeter

PER_ROUND = 10
EVERY_S = 15.0
SETTINGS = Audit(every=timedelta(seconds=EVERY_S), recent=timedelta(seconds=60), horizon=timedelta(hours=1))


@dataclass
class Rows:
    """Tables that hold a trade, its features and its prediction for every offset, except for those that are gone."""

    gone: set[int] = field(default_factory=set)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Result:
        edges = [*parameters["edges"], parameters["high"]]
        self.asked.append((parameters["low"], parameters["high"]))
        counted = {
            first: sum(offset not in self.gone for offset in range(first, end)) for first, end in pairwise(edges)
        }
        found = [(group, first, n) for group in ("features", "predictions", "events") for first, n in counted.items()]
        return Result([], [], found)


@dataclass
class Gauges(NoMeter):
    """What was told last."""

    told: dict[str, float] = field(default_factory=dict)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self.told[f"{name}/{labels.get('table', '')}"] = value


@dataclass
class Audited:
    """A partition that folds ten records a round, all of them stored."""

    tables: Rows = field(default_factory=Rows)
    meter: Gauges = field(default_factory=Gauges)
    notes: Notes = field(default_factory=lambda: Notes(began={0: 0}))
    rounds: int = 0

    def __post_init__(self) -> None:
        self.auditor = Auditor(
            cast(Database, self.tables), "market", "log", self.notes, lambda _: 1 << 60, self.meter, SETTINGS
        )

    def round(self) -> list[tuple[int, int]]:
        self.rounds += 1
        counts = dict.fromkeys(DOORS, 0) | {"folded": self.rounds * PER_ROUND}
        self.notes.newest[0] = Checkpoint(self.rounds * PER_ROUND, tuple(counts.values()))
        self.tables.asked.clear()
        self.auditor.round(self.rounds * EVERY_S)
        return list(self.tables.asked)


def test_the_last_minute_is_counted_each_time_and_older_stretches_come_in_turn() -> None:
    audited = Audited()
    for _ in range(2 * OLD_AT_ONCE + 10):
        audited.round()
    seen: set[int] = set()
    for _ in range(4):
        old, young = audited.round()
        newest = audited.rounds * PER_ROUND
        assert young[1] == newest - PER_ROUND  # a count waits until its rows are stored
        assert young[0] == old[1] or old[1] - old[0] <= OLD_AT_ONCE * PER_ROUND
        assert newest - young[0] <= (60 / EVERY_S + 2) * PER_ROUND
        seen.update(range(*old))
    assert seen >= set(range(2 * OLD_AT_ONCE * PER_ROUND))


@pytest.mark.parametrize("age", [1, 30], ids=["young", "old"])
def test_a_row_that_is_gone_is_told_until_it_is_back(age: int) -> None:
    audited = Audited()
    for _ in range(40):
        audited.round()
    audited.tables.gone.add((40 - age) * PER_ROUND - 5)
    for _ in range(4):
        audited.round()
    assert audited.meter.told["tickwire_audit_missing_rows/features"] == 1
    assert audited.meter.told["tickwire_audit_extra_rows/features"] == 0
    audited.tables.gone.clear()
    for _ in range(4):
        audited.round()
    assert audited.meter.told["tickwire_audit_missing_rows/features"] == 0


def test_what_is_older_than_the_horizon_is_forgotten() -> None:
    audited = Audited()
    for _ in range(300):
        asked = audited.round()
    assert min(low for low, _ in asked) >= (300 - 3600 / EVERY_S - 2) * PER_ROUND
