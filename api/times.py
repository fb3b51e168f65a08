"""RFC 3339 times with nine digits, as the API writes and reads them; `datetime` stops at microseconds."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.events import MAX_NS

NS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)
_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2}))?", re.ASCII
)


def to_rfc3339(ns: int) -> str:
    """Nanoseconds since the Unix epoch as a UTC time with nine digits.

    >>> to_rfc3339(1_381_152_600_000_000_001)
    '2013-10-07T13:30:00.000000001Z'
    """
    seconds, rest = divmod(ns, NS)
    return f"{(_NAIVE_EPOCH + timedelta(seconds=seconds)).isoformat()}.{rest:09}Z"


def from_rfc3339(text: str) -> int:
    """Nanoseconds since the Unix epoch of a time with a zone, or of a date (its first moment in UTC).

    Raises: `ValueError` that says what was expected.

    >>> from_rfc3339("2013-10-07T09:30:00.5-04:00")
    1381152600500000000
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"expected an RFC 3339 time such as 2026-11-22T14:30:00Z, found {text[:40]!r}")
    date, clock, digits, zone = match.groups()
    moment = datetime.fromisoformat(f"{date}T{clock or '00:00:00'}{(zone or 'Z').upper()}")
    ns = int((moment - _EPOCH) // timedelta(seconds=1)) * NS + int((digits or "0").ljust(9, "0"))
    if not 0 <= ns <= MAX_NS:
        raise ValueError(f"expected a time between 1970 and 2100, found {text[:40]!r}")
    return ns
