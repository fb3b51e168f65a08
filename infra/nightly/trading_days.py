"""The calendars of exchanges as `streams.schedule` wants them."""

import numpy as np

from infra.calendars import sessions_of
from processors.sessions import ALWAYS_OPEN
from schemas.errors import SettingsError
from streams.schedule import ExchangeDays, TradingDays, UtcDays


def trading_days(name: str) -> TradingDays:
    """The calendar of this name, `24/7` for UTC days; `SettingsError` where there is none.

    It reaches from twenty years ago to a year from now, or as far as the holidays of the exchange are known.
    """
    if name == ALWAYS_OPEN:
        return UtcDays(name)
    import exchange_calendars  # noqa: PLC0415

    try:
        found = exchange_calendars.get_calendar(name)
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise SettingsError(
            f"no exchange calendar is named {name!r}: expected one such as XNYS, or {ALWAYS_OPEN} for UTC days"
        ) from error
    except (ValueError, NotImplementedError) as error:  # a few calendars of the library are broken
        raise SettingsError(f"exchange_calendars cannot make the calendar {name}: {error}") from error
    days = found.schedule.index.to_numpy().astype("datetime64[D]").astype(np.int64)
    return ExchangeDays(name, sessions_of(found), days)
