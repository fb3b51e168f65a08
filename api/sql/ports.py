"""What SQL needs from outside, in its own words; infra has the adapters, tests have lists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from msgspec import Raw, Struct

from api.media import FileKind

Value: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True)
class SqlQuery:
    """One statement that may be run. `{name:Type}` in it is filled in by the database, never by us."""

    sql: str
    parameters: Mapping[str, Value]
    limit: int
    """Rows at most; what there is beyond them is cut."""
    id: str
    """By which it can be cancelled, and found in the database's own log."""


class Column(Struct, frozen=True):
    """A column of an answer and its ClickHouse type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class SqlTable:
    """An answer as rows, each a JSON array."""

    columns: Sequence[Column]
    rows: Sequence[Raw]
    cut: bool
    elapsed_s: float
    rows_read: int
    bytes_read: int


@dataclass(frozen=True, slots=True)
class SqlFile:
    """An answer as bytes of the kind that was asked for."""

    body: bytes
    rows: int
    cut: bool


class SqlFailed(Exception):
    """A statement that the database could not answer, by the fault of the statement.

    `limit`: it wanted more time, memory or rows than one may have; otherwise it was wrong.
    """

    def __init__(self, message: str, *, limit: bool) -> None:
        super().__init__(message)
        self.limit = limit


class SqlEngine(Protocol):
    """Runs statements read-only, within limits. Raises: `SqlFailed`, `DatabaseError`, `DatabaseUnavailable`."""

    def table(self, query: SqlQuery) -> SqlTable:
        """The answer, row by row."""

    def file(self, query: SqlQuery, kind: FileKind) -> SqlFile:
        """The answer as a file."""

    def cancel(self, query_id: str) -> None:
        """Stop a query that runs; nothing happens where none of this id does."""


@dataclass(frozen=True)
class SqlAccess:
    """Who runs statements, and who says which ones of a user may be run."""

    engine: SqlEngine
    max_rows: int
    check: Callable[[str], str] | None = None
    """The statement to be run in place of a user's; raises `QueryRefused`. Without it there are only the named queries."""
    tables: Sequence[str] = ()
    functions: Sequence[str] = ()
    """What a user's statement may be made of."""
