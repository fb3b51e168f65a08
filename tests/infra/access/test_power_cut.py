"""What was told of keys and of the audit log outlives a loss of power: contents are on the disk before their names are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.access.audit_log import AuditLog
from infra.access.keys import KeyFile

NOW_NS = 1_795_357_800_000_000_000


@pytest.fixture
def to_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the disk, in order: names of files and folders that are synced, `old > new` for one that is renamed."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        fsync(handle)
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    def replaced(old: Path, new: Path) -> None:
        replace(old, new)
        done.append(f"{Path(old).name} > {Path(new).name}")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return done


def test_a_line_and_the_head_behind_it_are_on_the_disk_when_it_is_told_to_be_written(
    tmp_path: Path, to_disk: list[str]
) -> None:
    log = AuditLog(tmp_path / "access" / "audit.jsonl", lambda: NOW_NS)
    for _ in range(2):
        to_disk.clear()
        log.record("login", "key 1")
        assert to_disk == ["audit.jsonl", "audit.head.new", "audit.head.new > audit.head", "access"]
    assert log.head().n == 2


@pytest.mark.parametrize(
    "change", [lambda keys: keys.create("new", "viewer", None), lambda keys: keys.revoke(keys.all()[0].id)]
)
def test_a_key_is_made_or_ended_on_the_disk_when_it_is_told_to_be(
    tmp_path: Path, to_disk: list[str], change: Callable[[KeyFile], object]
) -> None:
    keys = KeyFile(tmp_path / "access" / "keys.json", lambda: NOW_NS)
    keys.create("old", "viewer", None)
    to_disk.clear()
    change(keys)
    assert to_disk == ["keys.new", "keys.new > keys.json", "access"]


def test_a_draft_of_the_head_that_a_crash_left_for_all_to_read_is_not_written_into(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", lambda: NOW_NS)
    draft = tmp_path / "audit.head.new"
    draft.write_text("torn")
    draft.chmod(0o644)
    log.record("login", "key 1")
    assert log.head().n == 1
    assert log.head_path.stat().st_mode & 0o777 == 0o600
