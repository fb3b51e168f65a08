"""Wall time to UTC: local stamps of a recording as nanoseconds since the epoch."""

from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.errors import InputError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NS: Final = 1_000_000_000
MS: Final = 1_000_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
NEW_YORK: Final = "America/New_York"


def zone(name: str) -> tzinfo:
    """An IANA zone (`America/New_York`, `UTC`) or a fixed offset (`UTC-5`). Raises: `InputError`."""
    if name.startswith(("UTC+", "UTC-")) and name[4:].isdigit() and int(name[4:]) <= 14:
        return timezone(timedelta(hours=int(name[3:])))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"expected a time zone such as America/New_York, UTC or UTC-5, found {name!r}") from error


def epoch_ns(moment: datetime) -> int:
    """Nanoseconds since the epoch of an aware datetime, exactly."""
    past = moment - EPOCH
    return (past.days * 86_400 + past.seconds) * NS + past.microseconds * 1_000


def hour_starts(day: date, place: tzinfo) -> tuple[int, ...]:
    """For each hour of the wall clock: what to add to `milliseconds since midnight * 10**6` to have UTC, ns.

    On a day with a change of summer time the entries differ; an hour that comes twice is taken as its first.

    >>> hour_starts(date(1970, 1, 2), UTC)[0] == 86_400 * NS
    True
    """
    return tuple(epoch_ns(datetime.combine(day, time(hour), tzinfo=place)) - hour * HOUR_MS * MS for hour in range(24))
