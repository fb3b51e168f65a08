"""A request for SQL, from its body to its answer: read, checked, run within bounds, and stopped when its client is gone."""

import asyncio
import difflib
from collections.abc import Callable
from typing import Final, TypeVar
from uuid import uuid4

import msgspec
from fastapi import Request

from api.asked import invalid
from api.blocking import Blocking
from api.bodies import body_of
from api.media import FileKind
from api.problems import FieldError, Problem
from api.sql.catalogue import QUERIES
from api.sql.messages import SqlRequest
from api.sql.ports import SqlAccess, SqlFailed, SqlFile, SqlQuery, SqlTable
from schemas.errors import QueryRefused

T = TypeVar("T")
AT_ONCE: Final = 2
"""Queries that run; they share the machine with those who write."""
MAX_WAITING: Final = 8
ROWS: Final = 1_000
"""Of an answer, where the request does not say."""
MAX_BYTES: Final = 64 << 10
CANCEL_EVERY_S: Final = 0.5
_REQUEST: Final = msgspec.json.Decoder(SqlRequest)


class SqlRunner:
    """Runs what clients ask for, a few at a time, in threads of its own."""

    def __init__(self, access: SqlAccess) -> None:
        self._access, self._blocking = access, Blocking(AT_ONCE)
        self._checking, self._cancelling = Blocking(1), Blocking(AT_ONCE)
        self._inside = 0

    async def table(self, request: Request) -> tuple[str, SqlTable]:
        """The id and the rows of what `request` asks for. Raises: `Problem`."""
        return await self._answered(request, self._access.engine.table)

    async def file(self, request: Request, kind: FileKind) -> tuple[str, SqlFile]:
        """The same as a file."""
        return await self._answered(request, lambda query: self._access.engine.file(query, kind))

    async def _answered(self, request: Request, run: Callable[[SqlQuery], T]) -> tuple[str, T]:
        if self._inside >= AT_ONCE + MAX_WAITING:
            raise Problem("too-many-queries", f"{self._inside} queries are being answered")
        self._inside += 1
        try:
            query = await self._query(_decoded(await body_of(request, MAX_BYTES)))
            return query.id, await self._unless_gone(request, query.id, lambda: run(query))
        except SqlFailed as error:
            raise Problem("query-too-large" if error.limit else "query-failed", str(error)) from error
        finally:
            self._inside -= 1

    async def _query(self, asked: SqlRequest) -> SqlQuery:
        limit = min(ROWS, self._access.max_rows) if asked.limit is None else asked.limit
        if limit > self._access.max_rows:
            raise invalid("body.limit", f"expected 1 to {self._access.max_rows} rows, found {limit}")
        if (asked.query is None) == (asked.sql is None):
            raise invalid("body", "expected either `query`, a named one, or `sql`")
        query_id = f"tickwire-sql-{uuid4()}"
        if asked.query is not None:
            return _named(asked, limit, query_id)
        if self._access.check is None:
            raise Problem("sql-not-allowed", "only named queries are run here: GET /v1/sql/queries lists them")
        if asked.parameters:
            raise invalid("body.parameters", "expected none beside `sql`: write values as constants")
        try:
            sql = await self._checking.call(self._access.check, asked.sql)
        except QueryRefused as error:
            raise Problem("sql-refused", str(error)) from error
        return SqlQuery(sql, {}, limit, query_id)

    async def _unless_gone(self, request: Request, query_id: str, run: Callable[[], T]) -> T:
        """What `run` returns; once the client has hung up, the query is told to end until it has."""
        running = asyncio.ensure_future(self._blocking.call(run))
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
            while not running.done():
                await self._cancelling.call(self._access.engine.cancel, query_id)
                await asyncio.wait({running}, timeout=CANCEL_EVERY_S)
            return await running
        finally:
            gone.cancel()


def _decoded(body: bytes) -> SqlRequest:
    try:
        return _REQUEST.decode(body)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise invalid("body", str(error)) from error
    except RecursionError as error:
        raise invalid("body", "expected JSON that is not nested") from error


def _named(asked: SqlRequest, limit: int, query_id: str) -> SqlQuery:
    query = QUERIES.get(asked.query or "")
    if query is None:
        near = difflib.get_close_matches(asked.query or "", QUERIES, n=3)
        raise Problem(
            "unknown-query", f"no query is called {asked.query}; there are {', '.join(QUERIES)}", suggestions=near
        )
    values, wrong = query.bound(asked.parameters)
    if wrong:
        errors = [FieldError(where=f"body.parameters.{name}", message=message) for name, message in wrong.items()]
        raise Problem("invalid-request", "; ".join(f"{one.where}: {one.message}" for one in errors), errors=errors)
    return SqlQuery(query.sql, values, limit, query_id)


async def _hung_up(request: Request) -> None:
    """Return when the client has; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
