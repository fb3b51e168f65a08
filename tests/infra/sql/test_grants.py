"""The read-only user of a server, as far as the engine can tell without a place for users: its grants and its limits."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import infra.sql
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from schemas.errors import DatabaseError
from tests.infra.engine import engine
from tests.infra.sql.conftest import GUARD, LIMITS, NAME, TABLES, Stored

READER = Path(infra.sql.__file__).with_name("reader.sql")
STATEMENTS = [
    " ".join(text.split()) for text in re.sub(r"--.*", "", READER.read_text()).split(";") if text.strip()
]  # fmt: skip


def test_what_is_granted_is_what_the_guard_lets_through() -> None:
    granted = re.findall(r"GRANT SELECT ON (\S+) TO tickwire_reader;", READER.read_text())
    assert sorted(granted) == sorted(f"{NAME}.{name}" for name in [*GUARD.tables, *GUARD.views_at])
    assert all("SELECT ON" in one or one == "GRANT tickwire_reader TO tickwire_reader" for one in _grants())


def _grants() -> Sequence[str]:
    return [one for one in STATEMENTS if one.startswith("GRANT")]


def test_what_a_request_asks_for_is_within_what_the_reader_may_ask_for() -> None:
    bounds = dict(re.findall(r"(\w+) = \d+ MIN 1 MAX (\d+)", READER.read_text()))
    asked = LIMITS.settings()
    assert {"max_execution_time", "max_memory_usage", "max_rows_to_read", "max_bytes_to_read"} <= bounds.keys()
    for name in bounds.keys() & asked.keys():
        assert 1 <= float(asked[name]) <= float(bounds[name]), name
    assert not {"readonly", *(re.findall(r"(\w+) = \d+ READONLY", READER.read_text()))} & asked.keys()


@pytest.mark.embedded
def test_the_engine_understands_every_statement(stored: Stored) -> None:
    """Users cannot be made here: that, and no error of syntax, is what it says."""
    for statement in STATEMENTS:
        with pytest.raises(DatabaseError, match=r"ACCESS_STORAGE|ACCESS_DENIED|THERE_IS_NO|UNKNOWN_ROLE") as found:
            stored.database.command(statement)
        assert "Syntax" not in str(found.value), statement


@pytest.mark.embedded
def test_a_reader_reads_our_tables_and_nothing_else(tmp_path: Path) -> None:
    with engine(tmp_path) as running:
        database = running.database()
        create_tables(database, NAME, FEATURE_NAMES)
        database.command(f"CREATE TABLE {NAME}.secrets (a Int8) ENGINE = MergeTree ORDER BY a")
        database.close()
    allowed = [
        *(f"SELECT count() FROM {NAME}.{name}" for name in GUARD.tables),
        f"SELECT count() FROM {NAME}.bars_as_known(at = '2026-01-01 00:00:00.000')",
        f"SELECT count() FROM {NAME}.trades SETTINGS max_execution_time = 3, max_memory_usage = 1000000000, readonly = 1",
    ]
    refused = [
        f"SELECT * FROM {NAME}.secrets", "SELECT * FROM system.users", "SELECT * FROM system.query_log",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM remote('127.0.0.1:1', 'system.one')", f"SELECT * FROM merge('{NAME}', 'secrets')",
        f"INSERT INTO {NAME}.trades (symbol) VALUES ('x')", f"DROP TABLE {NAME}.trades", f"TRUNCATE TABLE {NAME}.trades",
        f"CREATE TABLE {NAME}.x (a Int8) ENGINE = Memory", "CREATE TEMPORARY TABLE x (a Int8)", "SYSTEM SHUTDOWN",
        "CREATE USER u", f"GRANT SELECT ON {NAME}.trades TO default", f"ALTER TABLE {NAME}.trades DELETE WHERE 1",
        "SELECT 1 SETTINGS max_execution_time = 0", "SELECT 1 SETTINGS max_execution_time = 100000",
        "SELECT 1 SETTINGS max_memory_usage = 0", "SELECT 1 SETTINGS max_rows_to_read = 0", "SET allow_ddl = 1",
    ]  # fmt: skip
    answers = _as_reader(tmp_path / "data", [*allowed, *refused])
    assert [error for error in answers[: len(allowed)] if error] == []
    passed = [statement for statement, error in zip(refused, answers[len(allowed) :], strict=True) if error is None]
    assert passed == []
    assert all("root:" not in error for error in answers[len(allowed) :] if error)
    assert len(TABLES) < len(allowed)


def _as_reader(data: Path, statements: Sequence[str]) -> list[str | None]:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.infra.sql.reader_process", str(data), str(READER)],
        input="\n".join(statements), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == len(statements), ran.stderr[-2_000:]
    return answers
