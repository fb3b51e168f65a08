"""The API's `SqlEngine` over ClickHouse's HTTP interface: read-only, within limits, and stopped when nobody waits any more."""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from api.media import FileKind
from api.sql.ports import Column, SqlFailed, SqlFile, SqlQuery, SqlTable
from infra.clickhouse import connect
from infra.clickhouse_http import HttpDatabase
from infra.sql.files import cut_arrow, cut_csv
from schemas.errors import DatabaseError, DatabaseUnavailable, SettingsError

log: Final = logging.getLogger(__name__)
GRACE_S: Final = 5.0
"""Beyond its time, until a query that nothing stopped is given up and killed."""
MOST_RESULT_BYTES: Final = 32 << 20
TOO_MUCH: Final = frozenset([158, 159, 160, 161, 167, 168, 191, 241, 290, 307, 394, 396])
"""ClickHouse's codes for more time, memory, rows or bytes than one query may have, and for one that was killed."""
WRONG: Final = frozenset(
    [
        6, 8, 10, 16, 20, 26, 27, 36, 38, 41, 42, 43, 44, 46, 47, 51, 53, 62, 63, 69, 70, 72, 117, 122, 125, 128, 131, 135,
        153, 169, 179, 184, 196, 207, 215, 349, 352, 386, 403, 407, 440, 456, 457, 477, 508, 691,
    ]
)  # fmt: skip
"""Its codes for a statement that makes no sense: its words about it say nothing but what the statement says."""
AS_JSON: Final[Mapping[str, str]] = {
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_denormals": "0",
    "date_time_output_format": "iso",
}

_BESIDE: Final = re.compile(r"; in: |\.? [Ii]n (?:scope|query) | \(version ")
ARROW: Final[Mapping[str, str]] = {"output_format_arrow_compression_method": "none"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may take. `rows` and `bytes` are those it reads, `memory` is in bytes."""

    time_s: float
    memory: int
    rows: int
    bytes: int

    def settings(self) -> Mapping[str, str]:
        """The same in ClickHouse's words; whoever is beyond them gets an error, not half an answer."""
        return {
            "max_execution_time": f"{self.time_s:g}", "timeout_overflow_mode": "throw",
            "max_memory_usage": str(self.memory), "max_rows_to_read": str(self.rows), "max_bytes_to_read": str(self.bytes),
            "read_overflow_mode": "throw", "max_result_bytes": str(MOST_RESULT_BYTES), "result_overflow_mode": "throw",
            "max_temporary_columns": "1000", "max_subquery_depth": "50", "max_threads": "1",
            "max_bytes_before_external_group_by": "0", "max_bytes_ratio_before_external_group_by": "0",
            "max_bytes_before_external_sort": "0", "max_bytes_ratio_before_external_sort": "0",
            "cancel_http_readonly_queries_on_client_close": "1",
        }  # fmt: skip


class _Answer(Struct):
    """What we take of ClickHouse's JSONCompact."""

    meta: Sequence[Column]
    data: Sequence[Raw]
    statistics: Mapping[str, float]


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class ClickHouseSql:
    """Over a server (as its read-only user, infra/sql/reader.sql) or the embedded engine."""

    def __init__(self, url: str, database: str, limits: Limits) -> None:
        found = connect(url, timeout_s=limits.time_s + GRACE_S)
        if not isinstance(found, HttpDatabase):
            raise SettingsError("TICKWIRE_SQL__URL: expected http:// or https://, SQL has no native protocol")
        self._database, self._name = found, database
        self._settings, self._time_s = limits.settings(), limits.time_s

    def table(self, query: SqlQuery) -> SqlTable:
        """One row more than asked for tells whether there are more."""
        told = _ANSWER.decode(self._answer(query, "JSONCompact", AS_JSON))
        return SqlTable(
            columns=told.meta,
            rows=told.data[: query.limit],
            cut=len(told.data) > query.limit,
            elapsed_s=told.statistics["elapsed"],
            rows_read=int(told.statistics["rows_read"]),
            bytes_read=int(told.statistics["bytes_read"]),
        )

    def file(self, query: SqlQuery, kind: FileKind) -> SqlFile:
        """CSV with names, an Arrow stream, or Parquet."""
        if kind == "csv":
            return cut_csv(self._answer(query, "CSVWithNames", AS_JSON), query.limit)
        return cut_arrow(self._answer(query, "ArrowStream", ARROW), query.limit, kind)

    def cancel(self, query_id: str) -> None:
        """Ends what runs under this id; where that is refused or nobody answers, its time limit does."""
        try:
            self._database.command(f"KILL QUERY WHERE query_id = '{query_id}' ASYNC")
        except (DatabaseError, DatabaseUnavailable) as error:
            log.warning("query %s was not killed, and runs until its time is over: %s", query_id, error)

    def close(self) -> None:
        """Close every idle connection."""
        self._database.close()

    def _answer(self, query: SqlQuery, output_format: str, more: Mapping[str, str]) -> bytes:
        settings: dict[str, Any] = {
            "database": self._name, "query_id": query.id, "default_format": output_format, **self._settings, **more,
            "limit": str(query.limit + 1), "readonly": "1",
        }  # fmt: skip
        began = time.monotonic()
        try:
            return self._database.answer(query.sql, query.parameters, settings)
        except DatabaseUnavailable as error:
            if time.monotonic() - began < self._time_s:
                raise
            self.cancel(query.id)
            raise SqlFailed(f"it did not end within {self._time_s:g} s, and was killed", limit=True) from error
        except DatabaseError as error:
            if error.code in TOO_MUCH or error.code in WRONG:
                raise SqlFailed(_words(error), limit=error.code in TOO_MUCH) from error
            raise


def _words(error: DatabaseError) -> str:
    """ClickHouse's own words, without the statement, which may not be the user's, and without its version."""
    return _BESIDE.split(str(error), maxsplit=1)[0][:500]
