"""The audit log: whatever is done to it afterwards is found."""

import json
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.access.audit_check import verify
from infra.access.audit_log import AuditLog, Head
from infra.access.audited import audit_log
from infra.access.keys import KeyFile
from infra.cli.main import app
from infra.settings import Settings
from schemas.errors import AccessError

NOW_NS = 1_795_357_800_000_000_000
Lines = list[bytes]


def log_at(path: Path, key: str = "") -> AuditLog:
    return AuditLog(path / "audit.jsonl", lambda: NOW_NS, key)


def written(path: Path, lines: int = 6, key: str = "") -> AuditLog:
    log = log_at(path, key)
    for number in range(lines):
        log.record("login", f"key {number}", path="/v1/symbols", text="ä\n\"'\\")
    return log


def changed(log: AuditLog, change: Callable[[Lines], Sequence[bytes]]) -> None:
    log.path.write_bytes(b"".join(change(log.path.read_bytes().splitlines(keepends=True))))


def test_an_untouched_log_is_whole_and_says_who_did_what(tmp_path: Path) -> None:
    log = written(tmp_path)
    assert verify(log).wrong == []
    lines = [json.loads(line) for line in log.path.read_bytes().splitlines()]
    assert [(line["n"], line["what"], line["who"]) for line in lines[:2]] == [
        (1, "login", "key 0"),
        (2, "login", "key 1"),
    ]
    assert lines[0]["at"].startswith("2026-11-22T")
    assert [line["before"] for line in lines[1:]] == [line["seal"] for line in lines[:-1]]
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert verify(log_at(tmp_path / "none")).lines == 0


DAMAGE: dict[str, Callable[[Lines], Sequence[bytes]]] = {
    "a word changed": lambda lines: [*lines[:2], lines[2].replace(b"key 2", b"key 9"), *lines[3:]],
    "the last line changed": lambda lines: [*lines[:-1], lines[-1].replace(b"key 5", b"key 9")],
    "the first line taken": lambda lines: lines[1:],
    "a line taken": lambda lines: lines[:2] + lines[3:],
    "two lines swapped": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "a line twice": lambda lines: [*lines[:3], *lines[2:]],
    "the end cut off": lambda lines: lines[:-1],
    "half a line cut off": lambda lines: [*lines[:-1], lines[-1][:40]],
    "everything cut off": lambda lines: [],
    "an empty line put in": lambda lines: [*lines[:2], b"\n", *lines[2:]],
    "a line of another's": lambda lines: [*lines, b'{"n":7,"what":"login"}\n'],
    "the newest end of line taken": lambda lines: [*lines[:-1], lines[-1].rstrip(b"\n")],
}


@pytest.mark.parametrize("key", ["", "a key of ours"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_done_to_it_is_found_also_when_writing_goes_on(tmp_path: Path, damage: str, key: str) -> None:
    log = written(tmp_path, key=key)
    changed(log, DAMAGE[damage])
    assert verify(log).wrong
    if damage not in {"half a line cut off", "the newest end of line taken", "the end cut off", "everything cut off"}:
        log.record("login", "key after")
        assert verify(log).wrong


@pytest.mark.parametrize("cut", ["the end cut off", "everything cut off"])
def test_what_was_cut_off_stays_missing_when_writing_goes_on(tmp_path: Path, cut: str) -> None:
    log = written(tmp_path)
    changed(log, DAMAGE[cut])
    for number in range(3):
        log.record("login", f"later {number}")
    assert verify(log).wrong


def test_without_the_key_nobody_can_write_the_log_anew(tmp_path: Path) -> None:
    ours = written(tmp_path, key="ours")
    noted = ours.head()
    for file in (ours.path, ours.head_path):
        file.unlink()
    forged = written(tmp_path, key="guessed")
    assert verify(forged).wrong == []
    assert any("another key's seal" in each for each in verify(log_at(tmp_path, "ours")).wrong)
    for file in (ours.path, ours.head_path):
        file.unlink()
    written(tmp_path)
    assert any("no line is sealed with the key" in each for each in verify(log_at(tmp_path, "ours")).wrong)
    assert any("was noted" in each for each in verify(log_at(tmp_path), noted).wrong)


def test_a_line_that_was_forged_behind_the_end_is_not_taken_for_one_that_a_crash_left(tmp_path: Path) -> None:
    log = written(tmp_path, key="ours")
    forger = log_at(tmp_path, "guessed")
    line = forger._sealed(
        {"n": 7, "at": "", "what": "x", "who": "y", "detail": {}, "keyed": True, "before": log.head().seal}
    )
    changed(log, lambda lines: [*lines, line + b"\n"])
    log.record("login", "key after")
    assert any("line 7 was altered" in each for each in verify(log).wrong)


def test_a_crash_between_line_and_head_or_within_a_line_loses_nothing_that_was_said_to_be_written(
    tmp_path: Path,
) -> None:
    log = written(tmp_path)
    before = log.head_path.read_bytes()
    log.record("login", "key 6")
    log.record("login", "key 7")
    log.head_path.write_bytes(before)
    changed(log, lambda lines: [*lines, lines[-1][:33]])
    log.record("login", "key 8")
    found = verify(log)
    assert (found.lines, found.wrong) == (9, [])


def test_a_head_that_was_noted_elsewhere_finds_older_copies_of_both_files(tmp_path: Path) -> None:
    log = written(tmp_path)
    old = {file: file.read_bytes() for file in (log.path, log.head_path)}
    log.record("key revoke", "user eve", id="1")
    noted = log.head()
    assert verify(log, noted).wrong == []
    for file, content in old.items():
        file.write_bytes(content)
    assert verify(log).wrong == []
    assert any("was noted" in each for each in verify(log, Head(noted.n, noted.seal)).wrong)


def _record_many(path: Path, who: str) -> None:
    for number in range(25):
        log_at(path).record("login", who, number=str(number))


def test_processes_write_one_after_the_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_record_many, args=(tmp_path, name)) for name in ("one", "two")]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    found = verify(log_at(tmp_path))
    assert (found.lines, found.wrong) == (50, [])


def test_what_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    def full(_: object) -> None:
        raise AccessError("no space left")

    keys = KeyFile(tmp_path / "keys.json", lambda: NOW_NS)
    key, credential = keys.create("x", "viewer", None)
    with pytest.raises(AccessError):
        keys.create("y", "admin", None, full)
    with pytest.raises(AccessError):
        keys.revoke(key.id, full)
    again = KeyFile(tmp_path / "keys.json", lambda: NOW_NS)
    assert len(again.all()) == 1
    assert again.find(credential) is not None


def test_the_commands_record_keys_and_verify_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("TICKWIRE_API__AUDIT_KEY", "canary-of-the-seal")
    run = CliRunner().invoke
    made = json.loads(run(app, ["keys", "create", "grafana", "--json"]).stdout)
    run(app, ["keys", "revoke", made["id"]])
    told = run(app, ["audit", "verify", "--json"])
    found = json.loads(told.stdout)
    assert (told.exit_code, found["lines"], found["sealed_with_key"], found["wrong"]) == (0, 2, True, [])
    assert run(app, ["audit", "verify", "--head", found["head"]]).exit_code == 0
    log = audit_log(Settings.model_validate({"data": tmp_path}))
    assert made["key"] not in log.path.read_text()
    assert "canary" not in log.path.read_text() + log.head_path.read_text()
    changed(log, lambda lines: lines[:1])
    broken = run(app, ["audit", "verify"])
    assert broken.exit_code == 1
    assert "the end is missing" in broken.stdout
