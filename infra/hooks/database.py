"""The file behind the outbox: SQLite in WAL mode, every commit on disk before it is told, readable by its owner alone."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from infra.private import private_folder
from schemas.errors import OutboxError

VERSION: Final = 1
BUSY_S: Final = 10.0
_TABLES: Final = """
CREATE TABLE endpoints (
  id TEXT PRIMARY KEY, target TEXT NOT NULL, channel TEXT NOT NULL, description TEXT NOT NULL, rules TEXT NOT NULL,
  concurrency INTEGER NOT NULL, created INTEGER NOT NULL, disabled TEXT NOT NULL DEFAULT '', failing_since INTEGER,
  secret TEXT NOT NULL, old_secret TEXT NOT NULL DEFAULT '', old_until INTEGER
) STRICT;
CREATE TABLE messages (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL, said INTEGER NOT NULL, put INTEGER NOT NULL
) STRICT;
CREATE TABLE deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL REFERENCES endpoints ON DELETE CASCADE,
  message TEXT NOT NULL REFERENCES messages, state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
  due INTEGER NOT NULL, made INTEGER NOT NULL, done INTEGER, UNIQUE (endpoint, message)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (endpoint, due, id) WHERE state = 'pending';
CREATE INDEX deliveries_message ON deliveries (message);
CREATE INDEX deliveries_done ON deliveries (state, done) WHERE state <> 'pending';
CREATE TABLE attempts (
  delivery INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE, number INTEGER NOT NULL, at INTEGER NOT NULL,
  took_s REAL NOT NULL, outcome TEXT NOT NULL, status INTEGER NOT NULL, detail TEXT NOT NULL,
  PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;
"""


class Database:
    """One connection, one caller at a time. Raises `OutboxError`; nothing of a transaction that raised is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.RLock()
        private_folder(path.parent)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._told():
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            with self.transaction():
                self._make()

    def _make(self) -> None:
        (version,) = self.rows("PRAGMA user_version")[0]
        if version == 0:
            for statement in filter(str.strip, _TABLES.split(";")):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise OutboxError(
                f"{self.path}: expected version {VERSION}, found {version}; use the tickwire that wrote it"
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing; on disk when the block is left."""
        with self._turn, self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Everything a statement answers."""
        with self._turn, self._told():
            return self._connection.execute(sql, values).fetchall()

    def changed(self, sql: str, values: Sequence[Any] = ()) -> int:
        """How many rows a statement wrote."""
        with self._turn, self._told():
            return self._connection.execute(sql, values).rowcount

    def close(self) -> None:
        """The end."""
        with self._turn:
            self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            passing = code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
            raise OutboxError(f"{self.path}: {error}", passing=passing) from error
