"""Which failures of ClickHouse are waited out, and which stop the worker at once."""

from collections.abc import Mapping
from typing import Final

from schemas.errors import DatabaseError, DatabaseUnavailable

FULL: Final = "disk_full"
BUSY: Final = "busy"
AWAY: Final = "unavailable"
REASONS: Final = frozenset([FULL, BUSY, AWAY])
NO_SPACE: Final = "No space left on device"
PASSING: Final[Mapping[int, str]] = {
    243: FULL,  # NOT_ENOUGH_SPACE
    202: BUSY,  # TOO_MANY_SIMULTANEOUS_QUERIES
    203: BUSY,  # NO_FREE_CONNECTION
    241: BUSY,  # MEMORY_LIMIT_EXCEEDED
    252: BUSY,  # TOO_MANY_PARTS
    394: AWAY,  # QUERY_WAS_CANCELLED: by somebody, or by a server that is stopping
    473: BUSY,  # DEADLOCK_AVOIDED
    159: BUSY,  # TIMEOUT_EXCEEDED
}
"""ClickHouse's codes of what passes. Everything else would be refused again: no right to write (164, 497, 516), a server or
table that is read-only (242), a table or column that is not there (60, 81, 16), a value of the wrong type (53)."""


def passing(error: Exception) -> str | None:
    """Why an insert is worth trying again; None where it is not."""
    if isinstance(error, DatabaseUnavailable):
        return AWAY
    if not isinstance(error, DatabaseError):
        return None
    return FULL if NO_SPACE in str(error) else PASSING.get(error.code)
