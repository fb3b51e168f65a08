"""Bounds of a verification as users write them, and models that are found again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import infra.cli.verify
import infra.verify
from infra.judged import confirm_judged
from infra.log_identity import LogIdentity
from infra.models.shelf import model_of
from infra.settings import Settings
from infra.verify import Request, check_range, parse_bound
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
