"""ClickHouse over its native protocol, by clickhouse-driver with blocks of our own.

The driver speaks the protocol; what is inside a block is written and read by infra/native_format.py and native_reader.py: its own
columns go value by value where a score is nullable, turn nanoseconds into datetimes of microseconds, and want pandas.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

from clickhouse_driver import Client, defines, errors
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.columns.service import read_column as read_sparse_column
from clickhouse_driver.connection import Connection
from clickhouse_driver.streams.compressed import CompressedBlockInputStream, CompressedBlockOutputStream
from clickhouse_driver.streams.native import BlockInputStream, BlockOutputStream

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
from infra.native_arrays import as_arrays
from infra.native_format import Column, encode_column, row_count, text, varint
from infra.native_reader import SAME_BYTES, read_column, read_text, read_varint
from schemas.errors import DatabaseError, DatabaseUnavailable

NOT_IMPLEMENTED: Final = 48
TOKENS_SINCE: Final = (22, 2)
PARAMETERS_SINCE: Final = defines.DBMS_MIN_PROTOCOL_VERSION_WITH_PARAMETERS
NAMED_SETTINGS_SINCE: Final = defines.DBMS_MIN_REVISION_WITH_SETTINGS_SERIALIZED_AS_STRINGS
ONE_BLOCK: Final = 1 << 40
LEFT_OUT: Final[Mapping[str, Callable[[Any], Any]]] = {"Bool": bool, "Float32": float, "Float64": float}
"""The driver puts an integer 0 where a sparse column has nothing."""
UNANSWERED: Final = (OSError, EOFError, errors.NetworkError, errors.SocketTimeoutError)


class NativeDatabase:
    """`infra.clickhouse.Database` over the native protocol.

    Query parameters need ClickHouse 22.8 or later and insert tokens 22.2: an older server refuses them by DatabaseError.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pool: Pool[Client] = Pool(self._open, Client.disconnect, lambda _: True)  # the driver pings before use

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        self._execute(sql, parameters)

    def rows(self, sql: str, parameters: Parameters | None = None) -> Result:
        columns, described = self._execute(sql.rstrip().rstrip(";"), parameters)
        names, types = zip(*described, strict=True) if described else ((), ())
        return Result(list(names), list(types), list(zip(*columns, strict=True)))

    def arrays(self, sql: str, parameters: Parameters | None = None) -> Mapping[str, Column]:
        columns, described = self._execute(sql.rstrip().rstrip(";"), parameters)
        return as_arrays(described, columns)

    def insert(
        self, table: str, columns: Mapping[str, Column], *, token: str | None = None, query_id: str | None = None
    ) -> int:
        if row_count(columns) == 0:
            return 0
        sql = f"INSERT INTO {quoted(table)} ({', '.join(map(quoted_column, columns))}) VALUES"
        with self._lease(sql) as client:
            settings = _insert_settings(client, token)
            if query_id is not None:
                settings["log_comment"] = query_id
            return int(client.execute(sql, (columns,), query_id=query_id or self._query_id(), settings=settings))

    def close(self) -> None:
        self._pool.close()

    def _execute(self, sql: str, parameters: Parameters | None) -> Any:
        values = {name: plain(name, value) for name, value in (parameters or {}).items()}
        with self._lease(sql) as client:
            server = client.connection.server_info
            if values and server.used_revision < PARAMETERS_SINCE:
                raise _too_old(server, "22.8", "query parameters")
            return client.execute(sql, values, query_id=self._query_id(), columnar=True, with_column_types=True)

    def _query_id(self) -> str:
        return f"{self._endpoint.name}-{uuid4()}"

    @contextmanager
    def _lease(self, sql: str) -> Iterator[Client]:
        try:
            with self._pool.lease() as client:
                yield client
        except errors.ServerException as error:
            raise DatabaseError(complaint(error.message, sql), code=error.code) from error
        except UNANSWERED as error:
            raise silence(self._endpoint, error) from error
        except errors.Error as error:
            raise DatabaseUnavailable(
                f"{self._endpoint} does not speak ClickHouse's native protocol: {error}"
            ) from error

    def _open(self) -> Client:
        endpoint = self._endpoint
        client = _Client(endpoint.host, settings={"server_side_params": True, "insert_block_size": ONE_BLOCK})
        client.connection = _Connection(
            endpoint.host,
            endpoint.port,
            endpoint.database,
            endpoint.user,
            endpoint.password,
            client_name=endpoint.name,
            connect_timeout=endpoint.connect_timeout_s,
            send_receive_timeout=endpoint.timeout_s,
            sync_request_timeout=endpoint.connect_timeout_s,
            compression="lz4" if endpoint.compression == "lz4" else False,
            secure=endpoint.scheme == "natives",
            ca_certs=endpoint.ca_file or None,
        )
        client.connection.context.settings = client.settings
        client.connection.context.client_settings = client.client_settings
        try:
            client.connection.connect()
        except Exception:  # a greeting that was refused leaves the socket open
            client.disconnect()
            raise
        return client


def _insert_settings(client: Client, token: str | None) -> dict[str, object]:
    server = client.connection.server_info
    if token is not None and server.version_tuple() < TOKENS_SINCE:
        raise _too_old(server, "22.2", "insert tokens")
    if server.used_revision < NAMED_SETTINGS_SINCE:
        return {"insert_deduplicate": 0}
    return {
        "async_insert": 0, "insert_deduplicate": 1, "insert_deduplication_token": own_token(token),
        "optimize_on_insert": 0,  # as over HTTP
    }  # fmt: skip


def _too_old(server: Any, needed: str, what: str) -> DatabaseError:
    version = ".".join(map(str, server.version_tuple()))
    return DatabaseError(f"{what} need ClickHouse {needed} or later, this server is {version}", code=NOT_IMPLEMENTED)


class _Client(Client):
    """The driver's client, sending one block that is encoded before a byte of it leaves."""

    def send_data(self, sample_block: Any, data: Any, types_check: bool = False, columnar: bool = False) -> int:  # noqa: ARG002
        (columns,) = data
        block = _Encoded(dict(sample_block.columns_with_types), columns)
        for each in (block, ColumnOrientedBlock()):  # an empty block ends the data
            self.connection.send_data(each)
            self.receive_profile_events()
        return block.num_rows


class _Connection(Connection):
    """The driver's connection with our blocks in it."""

    def get_block_in_stream(self) -> BlockInputStream:
        return _CompressedInput(self.fin, self.context) if self.compression else _Input(self.fin, self.context)

    def get_block_out_stream(self) -> BlockOutputStream:
        if self.compression:
            return _CompressedOutput(self.compressor_cls, self.compress_block_size, self.fout, self.context)
        return _Output(self.fout, self.context)


class _Encoded:
    """A block whose columns are bytes already."""

    def __init__(self, types: Mapping[str, str], columns: Mapping[str, Column]) -> None:
        self.info = BlockInfo()
        self.num_rows = row_count(columns)
        self.heads = [text(name) + text(types[name]) for name in columns]
        self.bodies = [b"".join(encode_column(name, types[name], values)) for name, values in columns.items()]


class _Output(BlockOutputStream):
    def write(self, block: Any) -> None:
        if not isinstance(block, _Encoded):
            super().write(block)
            return
        revision = self.context.server_info.used_revision
        plainly = b"\0" if revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION else b""
        if revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
            block.info.write(self.fout)
        self.fout.write(varint(len(block.bodies)) + varint(block.num_rows))
        for head, body in zip(block.heads, block.bodies, strict=True):
            self.fout.write(head + plainly)
            self.fout.write(body)
        self.finalize()


class _CompressedOutput(_Output, CompressedBlockOutputStream):
    pass


class _Input(BlockInputStream):
    def read(self, use_numpy: bool | None = None) -> ColumnOrientedBlock:  # noqa: ARG002
        revision = self.context.server_info.used_revision
        info = BlockInfo()
        if revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
            info.read(self.fin)
        count, rows = read_varint(self.fin), read_varint(self.fin)
        described, columns = [], []
        for _ in range(count):
            name, type_ = str(read_text(self.fin)), str(read_text(self.fin))
            described.append((name, type_))
            may_be_sparse = revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
            is_sparse = may_be_sparse and self.fin.read(1) != b"\0"
            if rows:
                columns.append(self._column(name, type_, rows, is_sparse))
        return ColumnOrientedBlock(described, columns, info)

    def _column(self, name: str, type_: str, rows: int, is_sparse: bool) -> list[Any]:
        if not is_sparse:
            return read_column(self.fin, name, type_, rows)
        same = SAME_BYTES.get(type_.partition("(")[0], type_)
        values = read_sparse_column(self.context, same, rows, self.fin, use_numpy=False, has_custom_serialization=True)
        return list(map(LEFT_OUT.get(type_, lambda value: value), values))


class _CompressedInput(_Input, CompressedBlockInputStream):
    pass
