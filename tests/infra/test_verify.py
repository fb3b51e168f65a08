"""Bounds of a verification as users write them, and models that are found again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import infra.cli.verify
import infra.session_log
import infra.verify
from infra.drained import Drained
from infra.judged import confirm_judged
from infra.judged_range import Request, check_range, parse_bound
from infra.log_identity import LogIdentity
from infra.models.shelf import model_of
from infra.settings import Settings
from models import manifest as manifests
from schemas.errors import LogError, SettingsError
from streams.verify import Plan
from tests.models.rows import described, logistic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("0:1200", {0: 1200}),
        ("0:1200,3:7", {0: 1200, 3: 7}),
        ("2026-01-31T09:30:00", 1_769_851_800_000_000_000),
        ("2026-01-31T09:30:00.000001", 1_769_851_800_000_001_000),
        ("2026-01-31T10:30:00+01:00", 1_769_851_800_000_000_000),
    ],
)
def test_a_bound_is_offsets_by_partition_or_a_time(text: str, expected: object) -> None:
    assert parse_bound(text, "--from") == expected


@pytest.mark.parametrize("text", ["yesterday", "0:", ":5", "0:1,2", "1:2:3", "-1:4"])
def test_a_bound_that_is_neither_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(SettingsError, match="--to: expected PARTITION:OFFSET"):
        parse_bound(text, "--to")


HELD = {0: (100, 200), 1: (0, 50), 2: (0, 0)}


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        ("9:0", "", r"--from: expected partitions among 0, 1, 2, was 9 \(a time is written with its date"),
        ("", "9:0", "--to: expected partitions among 0, 1, 2, was 9"),
        ("0:180", "0:120", "partition 0: 180 to 120 of 100 to 200"),
        ("0:200", "", "partition 0: 200 to 200 of 100 to 200"),
        ("1:10,0:5000", "", "partition 0: 5000 to 200 of 100 to 200"),
        ("2:0", "", "partition 2: 0 to 0 of 0 to 0"),
    ],
)
def test_a_range_without_a_record_is_refused_because_nothing_would_be_judged(begin: str, end: str, said: str) -> None:
    begins, bounds = parse_bound(begin, "--from") or {}, parse_bound(end, "--to") or {}
    assert isinstance(begins, dict)
    assert isinstance(bounds, dict)
    with pytest.raises(SettingsError, match=said):
        check_range(Request(begin=begins, end=bounds), begins, bounds, HELD)


def test_a_range_with_a_record_is_taken_and_a_time_may_leave_partitions_out() -> None:
    check_range(Request(begin={0: 0}, end={0: 1000}), {0: 0}, {0: 1000}, HELD)
    check_range(Request(begin=1), {0: 200, 1: 49, 2: 0}, {}, HELD)
    with pytest.raises(SettingsError, match="expected a range that has records"):
        check_range(Request(begin=1), {0: 200, 1: 50, 2: 0}, {}, HELD)


def test_a_model_that_is_gone_altered_or_of_other_features_is_none(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    manifest = described(logistic(), [[1.0, 2.0, 3.0]], [0.25])
    manifests.save(manifest, logistic(), tmp_path / "models")
    assert model_of(settings, "mlp-0123456789ab") is None
    assert model_of(settings, "../../etc/passwd") is None
    assert model_of(settings, manifest.id) is None, "it takes three features, the fold makes others"


@dataclass
class Stored:
    """A database whose features end at one offset, whose predictions at another, and that has records from `kept` on."""

    features: int = 0
    predictions: int = 0
    kept: Mapping[int, int] = field(default_factory=dict)
    asked: list[object] = field(default_factory=list)

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> "Rows":
        if "UNION ALL" in sql:
            self.asked.append((parameters["partition"], parameters["at"], parameters["below"]))
            first = self.kept.get(parameters["partition"])
            return Rows([(0, 0) if first is None else (1, first)])
        return Rows([(1, 1)] if "ledger" in sql else [(self.features if ".`features`" in sql else self.predictions,)])

    def close(self) -> None:
        pass


@pytest.fixture
def planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[int, tuple[int, int]], list[str]]]:
    """Partition to the offsets that are judged of it, and what is said of the rest."""
    plans: list[Plan] = []

    class Planned:
        def __init__(self, *_: object) -> None:
            pass

        check = staticmethod(plans.append)

    def found(
        log: LogIdentity, held: Mapping[int, tuple[int, int]], database: Stored, request: Request
    ) -> tuple[dict[int, tuple[int, int]], list[str]]:
        plans.clear()
        settings = Settings.model_validate({"data": tmp_path, "redis": {"url": "redis://nowhere:1"}})
        ends = {partition: end for partition, (_, end) in held.items()}
        for name, told in {"all_logs": [log], "connect": database, "settled": ends, "spans": held}.items():
            monkeypatch.setattr(infra.verify, name, lambda *_, told=told, **__: told)
        monkeypatch.setattr(infra.verify, "Verification", Planned)
        for name in ("_newest", "_parts", "_check_view"):
            monkeypatch.setattr(infra.verify._Verifying, name, lambda *_: None)
        notes = infra.verify.verify(settings, request).notes
        return {plan.partition: (plan.begin, plan.end) for plan in plans}, notes

    return found


CLOSED = LogIdentity(log_id="closed", ends={0: 10, 1: 10})


def test_a_closed_log_that_was_drained_is_judged_to_its_end_and_any_other_as_far_as_it_is_stored(
    tmp_path: Path, planned: Any
) -> None:
    held, cut = {0: (0, 10), 1: (0, 10)}, Stored(features=7, predictions=10)  # whose features have lost their tail
    Drained(tmp_path / "recovery").mark(CLOSED, [0], {})
    judged, notes = planned(CLOSED, held, cut, Request())
    assert judged == {0: (0, 10), 1: (0, 7)}
    assert notes == ["partition 1: records 7 to 9 are not judged: nobody has said that they are stored"]


def test_a_time_that_retention_has_passed_is_where_the_first_record_of_then_is_stored(
    planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra.session_log, "offsets_at", lambda *_: {0: 100, 1: 60, 2: 100, 3: None})
    log, held = (
        LogIdentity(log_id="log", starts={1: 50, 2: 100}),
        {0: (100, 200), 1: (50, 200), 2: (100, 200), 3: (5, 200)},
    )
    database = Stored(kept={0: 30})
    yesterday = Request(begin=1_000_000_001)
    judged, _ = planned(log, held, database, yesterday)
    assert judged == {0: (30, 200), 1: (60, 200), 2: (100, 200), 3: (200, 200)}
    assert database.asked == [(0, 1_001, 100)], "milliseconds are rounded up; the others have not passed"
    judged, _ = planned(log, held, Stored(kept={0: 30}), Request(begin={0: 10}, end=yesterday.begin))
    assert judged == {0: (10, 30)}
    with pytest.raises(SettingsError, match="partition 0: 40 to 30 of 0 to 200"):
        planned(log, held, Stored(kept={0: 30}), Request(begin={0: 40}, end=yesterday.begin))


class Rows(NamedTuple):
    rows: list[tuple[int, ...]]


class Truncated:
    """A database that has every table and not a row."""

    def rows(self, sql: str, parameters: Mapping[str, object]) -> Rows:
        return Rows([(0, 0)] if "ledger" in sql else [(0,)])

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("records", "code"), [(10, 2), (0, 0)])
def test_records_that_nobody_scores_and_clickhouse_has_lost_are_no_success(
    records: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def as_it_is(*_: object) -> None:
        return None

    monkeypatch.setattr(infra.cli.verify, "attached", lambda settings: settings)
    for name, found in {
        "all_logs": [LogIdentity(log_id="L")], "connect": Truncated(), "settled": {}, "spans": {0: (0, records), 1: (0, 0)},
    }.items():  # fmt: skip
        monkeypatch.setattr(infra.verify, name, lambda *_, found=found, **__: found)
    for name in ("_newest", "_parts", "_check_view"):
        monkeypatch.setattr(infra.verify._Verifying, name, as_it_is)
    monkeypatch.setattr(infra.verify, "Verification", Unused)
    settings = Settings.model_validate({"data": tmp_path, "redis": {"url": "redis://nowhere:1"}})
    told: Any = infra.cli.verify.run(settings, bounds=("", ""), log_id="", capture=None, kills=None, as_json=False)
    assert told == code
    if code:
        assert "(partition 0: records 0 to 9): nothing of it was judged" in capsys.readouterr().err


class Unused:
    """A verification that has nothing to look at."""

    def __init__(self, *_: object) -> None:
        pass

    def check(self, plan: Plan) -> None:
        assert plan.begin == plan.end


def plan(partition: int, judged: int, first: int = 0, begin: int = 0) -> Plan:
    return Plan(partition, first, first, max(begin, first), judged, judged)


def test_a_partition_that_is_only_behind_or_has_nothing_but_heartbeats_is_no_failure() -> None:
    def folded(partition: int) -> int | None:
        return {1: 0, 2: None, 3: 7}.get(partition)

    asked = {0: 100, 1: 20}
    confirm_judged([plan(0, 0)], asked, {0}, folded)  # somebody scores it
    confirm_judged([plan(0, 100), plan(1, 0)], asked, (), folded)  # heartbeats
    confirm_judged([plan(0, 90), plan(4, 0)], asked, (), folded)  # no record
    confirm_judged(
        [plan(0, 90), plan(3, 80, begin=90)], asked | {3: 95}, (), folded
    )  # heartbeats behind what is judged
    for lost in (2, 3):
        with pytest.raises(LogError, match=f"partition {lost}: records 5 to 9"):
            confirm_judged([plan(0, 90), plan(lost, 0, first=5)], asked | {lost: 10}, (), folded)
    with pytest.raises(LogError, match="partition 1: records 0 to 19"):
        confirm_judged([plan(1, 0)], asked, (), folded)  # nothing at all was judged
