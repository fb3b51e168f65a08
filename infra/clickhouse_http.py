"""ClickHouse over its HTTP interface, with connections of our own that are kept alive."""

import http.client
import io
import re
import select
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import lz4.frame

from infra.clickhouse import (
    Endpoint,
    Parameters,
    Pool,
    Result,
    complaint,
    own_token,
    plain,
    quoted,
    quoted_column,
    silence,
)
from infra.native_arrays import read_arrays
from infra.native_format import Column, encode_block, row_count
from infra.native_reader import Block, read_blocks
from schemas.errors import DatabaseError, DatabaseUnavailable

NO_SUCH_COLUMN_IN_TABLE: Final = 16
TSV_ESCAPES: Final = str.maketrans(
    {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"}
)
LITERAL_ESCAPES: Final = str.maketrans({"\\": "\\\\", "'": "\\'"})
WRITE: Final[Mapping[str, str]] = {
    "async_insert": "0",
    "insert_deduplicate": "1",
    "optimize_on_insert": "0",  # no two rows of a block are the same row: to look for them costs a fifth of an insert
}
READ: Final[Mapping[str, str]] = {
    "wait_end_of_query": "1"
}  # an error in the middle of a result is then a status, not text


class HttpDatabase:
    """`infra.clickhouse.Database` over HTTP; needs ClickHouse 22.8 or later, or the embedded engine."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pool: Pool[http.client.HTTPConnection] = Pool(self._open, http.client.HTTPConnection.close, _is_quiet)
        self._types: dict[str, Mapping[str, str]] = {}

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        self._post(sql, {**READ, **_query_parameters(parameters)}, sql.encode())

    def rows(self, sql: str, parameters: Parameters | None = None) -> Result:
        blocks = self._select(sql.rstrip().rstrip(";"), parameters)
        if not blocks:
            return self._without_rows(sql.rstrip().rstrip(";"), parameters)
        rows = [row for block in blocks for row in zip(*block.columns, strict=True)]
        return Result(blocks[0].names, blocks[0].types, rows)

    def arrays(self, sql: str, parameters: Parameters | None = None) -> Mapping[str, Column]:
        sql = f"{sql.rstrip().rstrip(';')}\nFORMAT Native"
        return read_arrays(self._post(sql, {**READ, **_query_parameters(parameters)}, sql.encode()))

    def answer(self, sql: str, parameters: Parameters, settings: Mapping[str, str]) -> bytes:
        """The answer of a query as ClickHouse writes it; `settings` are of the interface or of ClickHouse."""
        return self._post(sql, {**READ, **_query_parameters(parameters), **settings}, sql.encode())

    def insert(
        self, table: str, columns: Mapping[str, Column], *, token: str | None = None, query_id: str | None = None
    ) -> int:
        rows = row_count(columns)
        if rows == 0:
            return 0
        body = encode_block(columns, self._types_of(table, columns))
        sql = f"INSERT INTO {quoted(table)} ({', '.join(map(quoted_column, columns))}) FORMAT Native"
        settings = {"query": sql, **WRITE, "insert_deduplication_token": own_token(token)}
        if query_id is not None:
            settings |= {"query_id": query_id, "log_comment": query_id}
        try:
            self._post(sql, settings, body)
        except DatabaseError:
            self._types.pop(table, None)  # the table may be another one by now
            raise
        return rows

    def close(self) -> None:
        self._pool.close()

    def _types_of(self, table: str, columns: Mapping[str, Column]) -> Mapping[str, str]:
        known = self._types.get(table)
        if known is None or not columns.keys() <= known.keys():
            described = self._select(f"DESCRIBE TABLE {quoted(table)}", None)
            known = {name: type_ for block in described for name, type_ in zip(*block.columns[:2], strict=True)}
            self._types[table] = known
        if missing := [name for name in columns if name not in known]:
            raise DatabaseError(
                f"table {table} has no column {', '.join(missing)}; it has {', '.join(known)}",
                code=NO_SUCH_COLUMN_IN_TABLE,
            )
        return known

    def _select(self, sql: str, parameters: Parameters | None) -> Sequence[Block]:
        settings = {**READ, **_query_parameters(parameters)}
        return list(read_blocks(io.BytesIO(self._post(sql, settings, f"{sql}\nFORMAT Native".encode()))))

    def _without_rows(self, sql: str, parameters: Parameters | None) -> Result:
        """The Native format of no rows is no bytes: ask for names and types where the statement has some."""
        described: Sequence[Block] = ()
        with suppress(DatabaseError):  # not a SELECT: it has no names to tell
            described = self._select(f"DESCRIBE TABLE ({sql}\n)", parameters)
        if not described:
            return Result([], [], [])
        return Result(described[0].columns[0], described[0].columns[1], [])

    def _post(self, sql: str, settings: Mapping[str, str], body: bytes) -> bytes:
        endpoint = self._endpoint
        query = {"database": endpoint.database, "query_id": f"{endpoint.name}-{uuid4()}", **settings}
        headers = {"X-ClickHouse-User": endpoint.user}
        if endpoint.password:
            headers["X-ClickHouse-Key"] = endpoint.password
        if endpoint.compression == "lz4":
            body = lz4.frame.compress(body)
            headers["Content-Encoding"] = "lz4"
        try:
            with self._pool.lease() as connection:
                connection.request("POST", f"/?{urlencode(query)}", body, headers)
                reply = connection.getresponse()
                answer = reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise silence(endpoint, error) from error
        if reply.status != http.client.OK:
            raise _refusal(reply, answer, sql, endpoint)
        return answer

    def _open(self) -> http.client.HTTPConnection:
        endpoint = self._endpoint
        if endpoint.scheme == "https":
            context = ssl.create_default_context(cafile=endpoint.ca_file or None)
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                endpoint.host, endpoint.port, timeout=endpoint.connect_timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=endpoint.connect_timeout_s)
        connection.connect()
        connection.sock.settimeout(endpoint.timeout_s)
        return connection


def _is_quiet(connection: http.client.HTTPConnection) -> bool:
    """Whether an idle connection still stands: one that has something to read was closed by the other side."""
    if connection.sock is None:
        return False
    watched = select.poll()  # select() knows no descriptor beyond 1023
    watched.register(connection.sock, select.POLLIN)
    return not watched.poll(0)


def _query_parameters(parameters: Parameters | None) -> Mapping[str, str]:
    return {f"param_{name}": _parameter_text(plain(name, value)) for name, value in (parameters or {}).items()}


def _parameter_text(value: str | list[Any]) -> str:
    """As ClickHouse parses it: text in TSV escapes, lists as literals."""
    return value.translate(TSV_ESCAPES) if isinstance(value, str) else _literal(value)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    return f"'{value.translate(LITERAL_ESCAPES)}'" if isinstance(value, str) else str(value)


def _refusal(reply: http.client.HTTPResponse, answer: bytes, sql: str, endpoint: Endpoint) -> Exception:
    message = answer.decode(errors="replace")
    code = reply.headers.get("X-ClickHouse-Exception-Code") or (re.match(r"\s*Code: (\d+)", message) or [None, None])[1]
    if code is not None:
        return DatabaseError(complaint(message, sql), code=int(code))
    return DatabaseUnavailable(
        f"{endpoint} answered {reply.status} {reply.reason}, which is not ClickHouse: {message[:300]}"
    )
