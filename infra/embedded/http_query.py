"""What a request to ClickHouse's HTTP interface says: in its URL, its headers and its form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from infra.embedded.answers import NOT_IMPLEMENTED, QUERY_IS_TOO_LARGE, EngineError
from infra.embedded.chdb_engine import Options

Headers: TypeAlias = Message
"""Looked up without regard to case."""

RESERVED: Final = frozenset(
    [
        "buffer_size", "client_protocol_version", "close_session", "compress", "database", "decompress", "default_format",
        "password", "query", "query_id", "quota_key", "role", "session_check", "session_id", "session_timeout",
        "stacktrace", "user", "wait_end_of_query",
    ]
)  # fmt: skip
"""Parameters of the interface itself; every other one is a setting, or a query parameter (`param_…`)."""
LARGEST_FORM: Final = 16 << 20
DEFAULT_FORMAT: Final = "TabSeparated"


@dataclass(frozen=True)
class HttpQuery:
    """One request: `text` is what the URL says, the body may go on."""

    text: str
    options: Options
    default_format: str
    whole: bool
    """Answer only when the statement has ended (`wait_end_of_query`)."""
    revision: int
    """The native protocol that the client speaks (`client_protocol_version`); 0 where it says none."""
    packed_body: bool
    packed_answer: bool
    compress: bool


def read_query(target: str, headers: Headers, *, method: str) -> HttpQuery:
    """Parse the URL and the headers; a GET may change nothing, as on a server."""
    return _query(dict(parse_qsl(urlsplit(target).query, keep_blank_values=True)), headers, method=method)


def is_form(headers: Headers) -> bool:
    """Whether the body is a form: parameters, and maybe tables, instead of a statement or data."""
    return headers.get("Content-Type", "").lower().startswith("multipart/form-data")


def read_form(target: str, headers: Headers, body: Iterator[bytes], *, method: str) -> HttpQuery:
    """The same for a request whose query and parameters come as fields of a multipart form.

    EngineError for a file in the form (ClickHouse's external tables) and for a form larger than LARGEST_FORM.
    """
    raw = b"Content-Type: " + headers["Content-Type"].encode("latin-1") + b"\r\n\r\n" + _limited(body)
    fields = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
    for part in BytesParser(policy=HTTP).parsebytes(raw).iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise EngineError(
                NOT_IMPLEMENTED,
                f"external table {name}: the embedded engine takes none; insert it into a table (ENGINE = Memory) first",
            )
        fields[str(name)] = bytes(part.get_payload(decode=True) or b"").decode()
    return _query(fields, headers, method=method)


def _query(fields: Mapping[str, str], headers: Headers, *, method: str) -> HttpQuery:
    settings = {name: value for name, value in fields.items() if name not in RESERVED and not name.startswith("param_")}
    options = Options(
        database=fields.get("database") or headers.get("X-ClickHouse-Database") or "",
        query_id=fields.get("query_id") or headers.get("X-ClickHouse-Query-Id") or str(uuid4()),
        settings=settings,
        parameters={name[len("param_") :]: value for name, value in fields.items() if name.startswith("param_")},
        readonly=method != "POST",
    )
    return HttpQuery(
        text=fields.get("query", ""),
        options=options,
        default_format=fields.get("default_format") or headers.get("X-ClickHouse-Format") or DEFAULT_FORMAT,
        whole=_is_on(fields.get("wait_end_of_query")),
        revision=_number(fields.get("client_protocol_version", "0")),
        packed_body=_is_on(fields.get("decompress")),
        packed_answer=_is_on(fields.get("compress")),
        compress=_is_on(fields.get("enable_http_compression")),
    )


def _is_on(value: str | None) -> bool:
    return value is not None and value.lower() in ("1", "true")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _limited(body: Iterator[bytes]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for piece in body:
        size += len(piece)
        if size > LARGEST_FORM:
            raise EngineError(QUERY_IS_TOO_LARGE, f"the form is larger than {LARGEST_FORM} bytes")
        parts.append(piece)
    return b"".join(parts)
