"""ClickHouse's engine (chdb) over one data path: a session a request, so that no setting outlives its request."""

import fcntl
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.embedded.answers import EngineError
from infra.embedded.grants import default_memory, write_configuration
from infra.embedded.lost_inserts import forget_lost_inserts
from infra.private import private_folder
from schemas.errors import BackendError

UNKNOWN_SETTING: Final = 115
BAD_QUERY_PARAMETER: Final = 457
READONLY_BUT_SETTINGS: Final = "2"
HELD_IN_MEMORY: Final = 32 << 20
"""Bytes of one INSERT that wait in memory; more of them wait in a file."""
log = logging.getLogger("tickwire.clickhouse")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z", re.ASCII)


@dataclass(frozen=True)
class Options:
    """What a request asks beside its statement. `readonly`: nothing may be changed but settings."""

    database: str = ""
    query_id: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    readonly: bool = False


@dataclass(frozen=True)
class Progress:
    """What a statement read, wrote and answered; `elapsed_s` in seconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class Answer:
    """A result, or one piece of it, in the format that was asked for."""

    body: bytes
    progress: Progress


class Engine:
    """Owns a data path; `session` is safe to call from many threads, each of which gets a connection of its own.

    Raises BackendError where another process owns the path.
    """

    def __init__(self, path: Path, *, memory: int | None = None, allow_outside: bool = False) -> None:
        from chdb import _chdb  # noqa: PLC0415 (starts threads: `confine` comes before)

        path = path.resolve()
        private_folder(path)
        self._lock = _locked(path / "owner.lock")
        self.allow_outside = allow_outside
        self.scratch = path / "scratch"
        """A folder for what does not fit into memory."""
        self.scratch.mkdir(mode=0o700, exist_ok=True)
        engine: Any = _chdb  # its type stubs are for functions in Python only
        engine.set_signal_handlers_enabled(0)
        config = write_configuration(path, memory=memory or default_memory(), allow_outside=allow_outside)
        self._connect = engine.connect
        near = _relative(path)
        self._address = f"{near}/data?config-file={near}/{config.name}"
        self._default_definition = path / "data" / "metadata" / "default.sql"
        self._default_definition.unlink(missing_ok=True)
        self._clean = path / "stopped_cleanly"
        if not self._clean.exists() and (lost := forget_lost_inserts(path / "data")):
            log.warning("%d inserts were cut off when the engine was killed; their tokens are free again", lost)
        self._clean.unlink(missing_ok=True)
        self._anchor = self._connect(self._address)  # the engine lives as long as its first connection
        self._confirm_limit(memory or default_memory())
        self.version, self.timezone, self.display_name = self._row("SELECT version(), timezone(), displayName()")
        self._make_default_an_ordinary_database()

    @contextmanager
    def session(self, options: Options) -> Iterator["Session"]:
        """A connection that knows the options of one request, closed behind it."""
        with _engine_errors():
            connection = self._connect(self._address)
        try:
            session = Session(connection, self.scratch)
            session.prepare(options)
            yield session
        finally:
            connection.close()

    def cancel(self) -> None:
        """Make the running statements end as soon as they can, with an error to their clients."""
        self._anchor.query("KILL QUERY WHERE query NOT LIKE 'KILL QUERY%' ASYNC")

    def close(self) -> None:
        """Close the engine; every session must have ended."""
        self._anchor.close()
        self._default_definition.unlink(missing_ok=True)
        self._clean.touch()
        self._lock.close()

    def _confirm_limit(self, memory: int) -> None:
        """BackendError where the engine knows nothing of its configuration: neither grants nor limits would hold."""
        (told,) = self._row("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'")
        if int(told) != memory:
            self._anchor.close()
            raise BackendError(
                f"the ClickHouse engine did not read its configuration: expected a limit of {memory} bytes, found {told}"
            )

    def _make_default_an_ordinary_database(self) -> None:
        """An embedded engine's `default` takes every unknown name for a file; a server's does not.

        The definition that this leaves behind must be gone before the next start, which would load its tables twice and abort.
        """
        (uuid,) = self._row("SELECT uuid FROM system.databases WHERE name = 'default'")
        self._anchor.query("DETACH DATABASE `default`")
        self._anchor.query(f"ATTACH DATABASE `default` UUID '{uuid}' ENGINE = Atomic")

    def _row(self, text: str) -> list[str]:
        row: str = self._anchor.query(text, "TSV").bytes().decode().removesuffix("\n")
        return row.split("\t")


class Session:
    """One connection, used by one thread. Every method raises EngineError."""

    def __init__(self, connection: Any, scratch: Path) -> None:
        self._connection, self._scratch = connection, scratch

    def prepare(self, options: Options) -> None:
        """Make the options of a request hold for what follows."""
        settings = dict(options.settings)
        if options.query_id:
            settings["log_comment"] = options.query_id  # how KILL QUERY finds it
        if options.readonly:
            settings["readonly"] = READONLY_BUT_SETTINGS
        assignments = [f"{_setting(name)} = {quoted(value)}" for name, value in settings.items()]
        assignments += [f"param_{_parameter(name)} = {quoted(value)}" for name, value in options.parameters.items()]
        with _engine_errors():
            if options.database:
                self._connection.query(f"USE {quoted(options.database, '`')}")
            if assignments:
                self._connection.query("SET " + ", ".join(assignments))

    def query(self, text: str, output_format: str) -> Answer:
        """The whole result at once."""
        with _engine_errors():
            return _answer(self._connection.query(text, output_format))

    def stream(self, text: str, output_format: str) -> Generator[Answer, None, None]:
        """The result block by block (65,536 rows and less); only for formats whose pieces may be put together."""
        with _engine_errors():
            handle = self._connection.send_query(text, output_format)
        ended = False
        try:
            while not ended:
                with _engine_errors():
                    result = self._connection.streaming_fetch_result(handle)
                ended = result.rows_read() == 0
                yield _answer(result)
        except EngineError:
            ended = True
            raise
        finally:
            if not ended:
                self._connection.streaming_cancel_query(handle)

    def insert(self, begins: str, input_format: str, pieces: Iterable[bytes], ends: str = "") -> Progress:
        """Run an INSERT on data in `input_format`, given in pieces of any size; nothing is kept where a piece raises.

        `begins`: the statement up to where its data comes in; `ends`: a SETTINGS clause. The data is whole before the
        engine sees any of it, as a file: its own way to be handed an INSERT in pieces answers that all is well where
        storing failed (measured on 26.9.2: a violated constraint, a killed query).
        """
        with _as_file(pieces, self._scratch) as path:
            text = f"{begins} FROM INFILE {quoted(path)} {ends} FORMAT {input_format}"
            with _engine_errors():
                result = self._connection.query(text)
        return Progress(
            written_rows=result.rows_written(), written_bytes=result.bytes_written(), elapsed_s=result.elapsed()
        )


@contextmanager
def _as_file(pieces: Iterable[bytes], scratch: Path) -> Iterator[str]:
    """A path that holds all pieces: in memory, or beneath `scratch` where they are many."""
    handle = os.memfd_create("insert")
    size = 0
    try:
        for piece in pieces:
            if size <= HELD_IN_MEMORY < size + len(piece):
                handle = _moved(handle, scratch)
            size += len(piece)
            _write_all(handle, piece)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _moved(handle: int, scratch: Path) -> int:
    """The same bytes in a nameless file, ready for more; `handle` is closed."""
    with open(handle, "rb") as held, tempfile.TemporaryFile(dir=scratch) as larger:
        held.seek(0)
        shutil.copyfileobj(held, larger, 1 << 20)
        larger.flush()
        return os.dup(larger.fileno())


def _write_all(handle: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(handle, view) :]


def _relative(path: Path) -> str:
    """A path as the engine's address can have it: as seen from where we are, which is the path itself in a process of its own."""
    near = os.path.relpath(path)
    if set("?&") & set(near):
        raise BackendError(
            f"expected a ClickHouse data path without ? and & as seen from the working directory, found {near}"
        )
    return near


def quoted(text: str, quote: str = "'") -> str:
    """A ClickHouse literal (or, with a backtick, name) of this text."""
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def _answer(result: Any) -> Answer:
    body = result.bytes()
    progress = Progress(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        result_bytes=len(body),
        elapsed_s=result.elapsed(),
    )
    return Answer(body, progress)


def _setting(name: str) -> str:
    if not _NAME.match(name):
        raise EngineError(UNKNOWN_SETTING, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
    return name


def _parameter(name: str) -> str:
    if not _NAME.match(name) or "." in name:
        raise EngineError(BAD_QUERY_PARAMETER, f"'{name}' cannot name a query parameter. (BAD_QUERY_PARAMETER)")
    return name


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise EngineError.of(error) from error


def _locked(path: Path) -> Any:
    handle = path.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise BackendError(
            f"another process owns the ClickHouse data in {path.parent}: one process a path; "
            "query it over HTTP, or stop it first"
        ) from error
    return handle
