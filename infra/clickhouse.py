"""ClickHouse behind one protocol: a server by its native protocol or by HTTP, the embedded engine by HTTP.

    database = connect("http://127.0.0.1:8123/market")
    database = connect("native://writer:secret@clickhouse:9000/market", compression="lz4")

Both adapters take the same columns (infra/native_format.py) and give the same rows (infra/native_reader.py). Errors are
`DatabaseError` with ClickHouse's code for a statement that was refused, `DatabaseUnavailable` where nobody answered; nothing is
retried here.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

import numpy as np

from infra.native_format import Column
from schemas.errors import DatabaseError, DatabaseUnavailable, SettingsError

BAD_ARGUMENTS: Final = 36
COMPRESSIONS: Final = ("none", "lz4")
SCHEMES: Final[Mapping[str, int]] = {"http": 8123, "https": 8443, "native": 9000, "natives": 9440}
Parameters: TypeAlias = Mapping[str, object]
Scalar: TypeAlias = str | int | float | bool
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Result:
    """What a query returned; times are integers in their column's own unit, as they were written."""

    names: Sequence[str]
    types: Sequence[str]
    rows: list[tuple[Any, ...]]

    def column(self, name: str) -> list[Any]:
        """All values of one column."""
        index = self.names.index(name)
        return [row[index] for row in self.rows]


class Database(Protocol):
    """A ClickHouse; safe to use from several threads at once."""

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        """Run a statement that returns nothing. `{name:Type}` in it is filled in by the server."""

    def rows(self, sql: str, parameters: Parameters | None = None) -> Result:
        """Run a query, without a FORMAT of its own, and read all of it."""

    def arrays(self, sql: str, parameters: Parameters | None = None) -> Mapping[str, Column]:
        """The same as whole columns (infra/native_arrays.py); no columns where there is no row."""

    def insert(
        self, table: str, columns: Mapping[str, Column], *, token: str | None = None, query_id: str | None = None
    ) -> int:
        """Write one block and wait until it is stored; returns the number of rows.

        The block is taken as a whole or not at all. A `token` that the table has seen within its deduplication window
        stores nothing; without one every block is stored, even one that equals another. `query_id` is in ClickHouse's
        list of processes, and its log comment, for as long as the insert runs.
        """

    def close(self) -> None:
        """Close every idle connection."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and as whom to connect; the password does not appear in its repr."""

    scheme: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    connect_timeout_s: float
    timeout_s: float
    compression: str
    name: str
    """Prefix of every query id, to find our queries in `system.query_log`."""
    ca_file: str = ""
    """Who may have signed the server's certificate (TLS); the authorities of this system where empty."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/{self.database}"


def connect(
    url: str, *, timeout_s: float = 60, connect_timeout_s: float = 5, compression: str = "none", name: str = "tickwire"
) -> Database:
    """The database at this URL; nothing is sent before the first statement.

    `url`: `http`, `https`, `native` or `natives` (TLS) `://[user[:password]@]host[:port][/database][?ca_file=PATH]`.
    `timeout_s`: how long a statement may be silent. `compression` of what is sent: none (loopback) or lz4.
    SettingsError for a URL or compression that is none of these.
    """
    endpoint = _endpoint(url, timeout_s, connect_timeout_s, compression, name)
    # Each adapter brings a driver that costs start-up time: import the one that is asked for.
    if endpoint.scheme.startswith("http"):
        from infra.clickhouse_http import HttpDatabase  # noqa: PLC0415

        return HttpDatabase(endpoint)
    from infra.clickhouse_native import NativeDatabase  # noqa: PLC0415

    return NativeDatabase(endpoint)


def _endpoint(url: str, timeout_s: float, connect_timeout_s: float, compression: str, name: str) -> Endpoint:
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:  # its words may have a part of a password
        raise SettingsError(
            "expected a ClickHouse URL such as http://user:password@host:8123/market with a port from 1 to 65535, found one "
            "whose host or port cannot be read; write / # and @ in a password as %2F %23 and %40"
        ) from None
    if parts.scheme not in SCHEMES or parts.hostname is None:
        shown = url if parts.password is None else url.replace(parts.password, "***")
        raise SettingsError(
            f"expected a ClickHouse URL such as http://127.0.0.1:8123/market or native://user:password@host:9000/market, "
            f"found {shown!r}"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if options.keys() - {"ca_file"}:
        raise SettingsError(
            f"expected no option but ca_file in a ClickHouse URL, found {', '.join(sorted(options.keys() - {'ca_file'}))}"
        )
    if compression not in COMPRESSIONS:
        raise SettingsError(f"ClickHouse compression must be one of {', '.join(COMPRESSIONS)}, found {compression!r}")
    return Endpoint(
        parts.scheme,
        parts.hostname,
        port or SCHEMES[parts.scheme],
        unquote(parts.username or "default"),
        unquote(parts.password or ""),
        unquote(parts.path.strip("/")) or "default",
        connect_timeout_s,
        timeout_s,
        compression,
        name,
        options.get("ca_file", ""),
    )


class Pool(Generic[C]):
    """Connections of which each serves one statement at a time; one that failed is not used again."""

    def __init__(self, open_one: Callable[[], C], close_one: Callable[[C], None], usable: Callable[[C], bool]) -> None:
        self._open, self._close, self._usable = open_one, close_one, usable
        self._idle: deque[C] = deque()
        self._lock = Lock()
        self._closed = False

    @contextmanager
    def lease(self) -> Iterator[C]:
        """A connection of one's own; it comes back unless the block raises."""
        connection = self._take()
        try:
            yield connection
        except BaseException:
            self._close(connection)
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        self._close(connection)

    def _take(self) -> C:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._open()
            if self._usable(connection):
                return connection
            self._close(connection)

    def close(self) -> None:
        """Close what is idle now, and every other connection when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = list(self._idle), deque()
        for connection in idle:
            self._close(connection)


def quoted(identifier: str) -> str:
    """`market.trades` as ClickHouse reads it whatever the names are: each part between backticks."""
    return ".".join(map(quoted_column, identifier.split(".")))


def quoted_column(name: str) -> str:
    """A column's name between backticks; a dot in it belongs to it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "``") + "`"


def plain(name: str, value: object) -> str | list[Any]:
    """A parameter as text, or a list of plain scalars and lists; DatabaseError for what has no single meaning in SQL."""
    scalar = _scalar(name, value)
    if isinstance(scalar, bool):
        return "true" if scalar else "false"
    return scalar if isinstance(scalar, list) else str(scalar)


def _scalar(name: str, value: object) -> Scalar | list[Any]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple | np.ndarray):
        elements = [_scalar(name, each) for each in value]
        return [int(each) if isinstance(each, bool) else each for each in elements]
    if isinstance(value, str | int | float):
        return value
    raise DatabaseError(
        f"parameter {name}: expected str, int, float, bool or a list of these, found {type(value).__name__}; "
        "give times as integers and write IS NULL for None",
        code=BAD_ARGUMENTS,
    )


def own_token(token: str | None) -> str:
    """The token of an insert: one of its own where none is given, else ClickHouse takes equal blocks for the same.

    (Since 26.2 `insert_deduplicate=0` no longer says so, and an older server does not know `deduplicate_insert`.)
    """
    return uuid4().hex if token is None else token


def complaint(message: str, sql: str) -> str:
    """ClickHouse's own words without its stack trace, and the start of the statement they are about."""
    said = re.split(r"Stack trace:|, e\.what\(\)", message, maxsplit=1)[0]
    said = re.sub(r"^Code: \d+[.,]\s*(e\.displayText\(\) = )?", "", said).removeprefix("DB::Exception: ").strip()
    return f"{said.rstrip('. ')}; in: {' '.join(sql.split())[:300]}"


def silence(endpoint: Endpoint, error: Exception) -> DatabaseUnavailable:
    """What to raise where nobody answered."""
    return DatabaseUnavailable(
        f"ClickHouse at {endpoint} did not answer: {str(error) or type(error).__name__}; is it running there, and does it take "
        f"less than {endpoint.timeout_s:g} s?"
    )
