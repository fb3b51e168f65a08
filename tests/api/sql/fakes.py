"""A database for `/v1/sql` as a list of answers, and the API over it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from msgspec import Raw

from api.media import FileKind
from api.sql.ports import Column, SqlAccess, SqlFile, SqlQuery, SqlTable
from schemas.errors import QueryRefused
from tests.api.fakes import World


@dataclass
class SqlList:
    """`SqlEngine` that answers every statement with the same rows, and remembers what it was asked."""

    rows: list[bytes] = field(default_factory=lambda: [b'["mlp-77ab",0.5312]'])
    fails: Exception | None = None
    asked: list[SqlQuery] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    runs: threading.Event = field(default_factory=threading.Event)
    ends: threading.Event = field(default_factory=threading.Event)
    waits: bool = False
    """Whether a query runs until it is cancelled."""

    def table(self, query: SqlQuery) -> SqlTable:
        self._run(query)
        columns = [Column("model_id", "LowCardinality(String)"), Column("hit_rate", "Float64")]
        kept = [Raw(row) for row in self.rows[: query.limit]]
        return SqlTable(columns, kept, cut=len(self.rows) > query.limit, elapsed_s=0.5, rows_read=7, bytes_read=70)

    def file(self, query: SqlQuery, kind: FileKind) -> SqlFile:
        self._run(query)
        return SqlFile(kind.encode(), min(len(self.rows), query.limit), cut=len(self.rows) > query.limit)

    def cancel(self, query_id: str) -> None:
        self.cancelled.append(query_id)
        self.ends.set()

    def _run(self, query: SqlQuery) -> None:
        self.asked.append(query)
        self.runs.set()
        if self.waits:
            assert self.ends.wait(10)
        if self.fails is not None:
            raise self.fails


def only_one(text: str) -> str:
    """A guard that knows one statement."""
    if text != "SELECT 1":
        raise QueryRefused("the function sleep is not allowed")
    return "SELECT  1"


@dataclass
class Asking(World):
    """An API over lists, with SQL."""

    sql: Any = field(default_factory=SqlList)
    check: Callable[[str], str] | None = None

    def app(self) -> FastAPI:
        self.more["sql"] = SqlAccess(self.sql, max_rows=100, check=self.check, tables=["trades"], functions=["count"])
        return super().app()


def body(query: str = "hit_rate", **more: Any) -> dict[str, Any]:
    """A request for a named query."""
    return {"query": query, **more}
