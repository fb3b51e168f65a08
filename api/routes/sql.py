"""SQL over the history: named queries for everybody who may read, SELECTs of one's own where a setting allows them."""

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.access.needs import needs
from api.media import FILES, JSON, wanted
from api.openapi import answered, asked_with
from api.sql.catalogue import QUERIES
from api.sql.messages import FreeSql, SqlQueries, SqlRequest, SqlResult, described, result
from api.sql.ports import SqlAccess
from api.sql.running import SqlRunner


def sql_routes(access: SqlAccess) -> APIRouter:
    """`/v1/sql` and `/v1/sql/queries`."""
    router = APIRouter(prefix="/v1", tags=["sql"], dependencies=[needs("sql:query")])
    runner = SqlRunner(access)
    listed = msgspec.json.encode(_queries(access))

    @router.get(
        "/sql/queries", operation_id="listSqlQueries", summary="The named queries, and what else may be asked",
        responses=answered(SqlQueries, "Every query with its parameters and an example"),
    )  # fmt: skip
    async def queries() -> Response:
        return Response(listed, media_type=JSON)

    @router.post(
        "/sql", operation_id="runSql", summary="Ask the history: a named query, or a SELECT where that is allowed",
        responses=answered(
            SqlResult, "Rows as JSON; by Accept also CSV, an Arrow stream or Parquet",
            "unknown-query", "invalid-request", "sql-refused", "sql-not-allowed", "query-failed", "query-too-large",
            "not-acceptable", "too-many-queries", "backend-unavailable", files=list(FILES),
        ),
        openapi_extra=asked_with(SqlRequest),
    )  # fmt: skip
    async def run(request: Request) -> Response:
        kind = wanted(request.headers.get("accept", ""))
        if kind == JSON:
            query_id, table = await runner.table(request)
            body, rows, cut = msgspec.json.encode(result(query_id, table)), len(table.rows), table.cut
        else:
            query_id, file = await runner.file(request, FILES[kind])
            body, rows, cut = file.body, file.rows, file.cut
        headers = {"x-query-id": query_id, "x-row-count": str(rows), "x-cut": str(cut).lower(), "vary": "accept"}
        return Response(body, headers=headers, media_type=kind)

    return router


def _queries(access: SqlAccess) -> SqlQueries:
    free = FreeSql(allowed=access.check is not None, tables=access.tables, functions=access.functions)
    return SqlQueries(data=[described(query) for query in QUERIES.values()], free=free, max_rows=access.max_rows)
