"""ClickHouse's words for what happened: error codes with their HTTP status, formats with their content type."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

SYNTAX_ERROR: Final = 62
NOT_IMPLEMENTED: Final = 48
UNKNOWN_COMPRESSION_METHOD: Final = 89
QUERY_IS_TOO_LARGE: Final = 229
CANNOT_DECOMPRESS: Final = 271
ACCESS_DENIED: Final = 497
UNKNOWN_EXCEPTION: Final = 1002
OURS: Final[Mapping[int, str]] = {
    SYNTAX_ERROR: "SYNTAX_ERROR",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    UNKNOWN_COMPRESSION_METHOD: "UNKNOWN_COMPRESSION_METHOD",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    CANNOT_DECOMPRESS: "CANNOT_DECOMPRESS",
    ACCESS_DENIED: "ACCESS_DENIED",
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}
"""The errors that this server raises itself, with ClickHouse's name for them."""

STATUS: Final[Mapping[HTTPStatus, frozenset[int]]] = {
    HTTPStatus.BAD_REQUEST: frozenset(
        [6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676]
    ),
    HTTPStatus.UNAUTHORIZED: frozenset([194]),
    HTTPStatus.FORBIDDEN: frozenset([192, 193, 497, 512, 516]),
    HTTPStatus.NOT_FOUND: frozenset([46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511]),
    HTTPStatus.REQUEST_TIMEOUT: frozenset([159]),
    HTTPStatus.LENGTH_REQUIRED: frozenset([381]),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: frozenset([229]),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: frozenset([779]),
    HTTPStatus.NOT_IMPLEMENTED: frozenset([48]),
    HTTPStatus.SERVICE_UNAVAILABLE: frozenset([76, 209, 439]),
}
"""As ClickHouse's own server answers (src/Server/HTTP/exceptionCodeToHTTPStatus.cpp); every other code is 500."""

_CONTENT_TYPES: Final[tuple[tuple[str, str], ...]] = (
    ("tabseparated", "text/tab-separated-values; charset=UTF-8"),
    ("tsv", "text/tab-separated-values; charset=UTF-8"),
    ("csv", "text/csv; charset=UTF-8"),
    ("jsoneachrow", "application/x-ndjson; charset=UTF-8"),
    ("jsoncompacteachrow", "application/x-ndjson; charset=UTF-8"),
    ("jsonstringseachrow", "application/x-ndjson; charset=UTF-8"),
    ("json", "application/json; charset=UTF-8"),
    ("xml", "application/xml; charset=UTF-8"),
    ("native", "application/octet-stream"),
    ("rowbinary", "application/octet-stream"),
    ("parquet", "application/octet-stream"),
    ("arrow", "application/octet-stream"),
    ("orc", "application/octet-stream"),
)
_CODE: Final = re.compile(r"Code: (\d+)\.")
_REPEATED_HEAD: Final = re.compile(r"^(?:Code: \d+\. DB::\w+: )+(?=Code: \d+\.)")
_REPEATED_TAIL: Final = re.compile(r"(?<=\))(?:\. \([A-Z_0-9]+\)(?: \(version [^)]+\))?)+\Z")
_NAMED: Final = re.compile(r"\([A-Z_0-9]+\)")


class EngineError(Exception):
    """ClickHouse refused a statement: its code, and its own text without the leading `Code: …`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def of(cls, error: RuntimeError) -> "EngineError":
        """What the engine raised, read back from its text."""
        text = str(error)
        found = _CODE.search(text)
        if found is None:
            return cls(UNKNOWN_EXCEPTION, text)
        return cls(int(found.group(1)), _once(text[found.start() :]))

    def text(self, version: str) -> str:
        """The message as a server puts it into a response, with its version at the end."""
        message = self.message.rstrip()
        if not message.startswith("Code: "):
            message = f"Code: {self.code}. DB::Exception: {message}"
        if not _NAMED.search(message[-200:]):
            message += f". ({OURS.get(self.code, 'UNKNOWN_EXCEPTION')})"
        return f"{message}\n" if "(version " in message else f"{message} (version {version})\n"

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status that a ClickHouse server gives this error."""
        return next(
            (status for status, codes in STATUS.items() if self.code in codes), HTTPStatus.INTERNAL_SERVER_ERROR
        )


def content_type(output_format: str) -> str:
    """The Content-Type of a format by ClickHouse's name for it."""
    name = output_format.lower()
    return next((kind for prefix, kind in _CONTENT_TYPES if name.startswith(prefix)), "text/plain; charset=UTF-8")


def _once(text: str) -> str:
    """The engine wraps an error in itself; a server says it once."""
    return _REPEATED_TAIL.sub("", _REPEATED_HEAD.sub("", text.strip()))
