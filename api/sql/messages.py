"""What `/v1/sql` is asked with and what it answers."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Raw, Struct

from api.sql.named import NamedQuery, Type
from api.sql.ports import Column, SqlTable

Scalar = str | int | float | bool


class SqlRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Either `query`, a named one, with its `parameters`, or `sql`, a SELECT of your own where that is allowed."""

    query: Annotated[str, Meta(max_length=100)] | None = None
    parameters: dict[str, Scalar] = {}
    sql: str | None = None
    limit: Annotated[int, Meta(ge=1, description="Rows at most; `cut` says whether there were more")] | None = None


class Statistics(Struct, frozen=True, kw_only=True):
    """What an answer took."""

    elapsed_s: float
    rows_read: int
    bytes_read: int


class SqlResult(Struct, frozen=True, kw_only=True):
    """The rows of a query, each an array in the order of `columns`; NaN is null, times are RFC 3339."""

    query_id: Annotated[str, Meta(description="Also in the header X-Query-Id, and in the database's own log")]
    columns: Sequence[Column]
    rows: Sequence[Raw]
    row_count: int
    cut: Annotated[bool, Meta(description="Whether there are more rows than `limit`")]
    statistics: Statistics


class ParameterInfo(Struct, frozen=True, kw_only=True):
    """A parameter of a named query."""

    name: str
    type: Type
    description: str
    required: bool
    default: Scalar | None
    example: Scalar


class NamedQueryInfo(Struct, frozen=True, kw_only=True):
    """A named query, and parameters with which it can be tried."""

    name: str
    description: str
    parameters: Sequence[ParameterInfo]
    example: Mapping[str, Scalar]


class FreeSql(Struct, frozen=True, kw_only=True):
    """Whether SELECTs of one's own are run here, and what they may be made of."""

    allowed: bool
    tables: Sequence[str]
    functions: Sequence[str]


class SqlQueries(Struct, frozen=True, kw_only=True):
    """Every named query, what else may be asked, and the most rows of an answer."""

    data: Sequence[NamedQueryInfo]
    free: FreeSql
    max_rows: int


def result(query_id: str, table: SqlTable) -> SqlResult:
    """An answer with what it took."""
    return SqlResult(
        query_id=query_id, columns=table.columns, rows=table.rows, row_count=len(table.rows), cut=table.cut,
        statistics=Statistics(elapsed_s=table.elapsed_s, rows_read=table.rows_read, bytes_read=table.bytes_read),
    )  # fmt: skip


def described(query: NamedQuery) -> NamedQueryInfo:
    """A named query for those who look for one."""
    parameters = [
        ParameterInfo(
            name=one.name, type=one.type, description=one.description, required=one.default is None, default=one.default,
            example=one.example,
        )
        for one in query.parameters
    ]  # fmt: skip
    return NamedQueryInfo(name=query.name, description=query.description, parameters=parameters, example=query.example)
