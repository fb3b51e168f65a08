"""The calendars of exchanges as `streams.schedule` wants them."""

import numpy as np

from processors.sessions import ALWAYS_OPEN, Calendar
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
    schedule = found.schedule
    midnight = schedule.index.tz_localize(found.tz, nonexistent="shift_forward", ambiguous=True).tz_convert("UTC")
    calendar = Calendar(
        start=midnight.as_unit("ns").asi8,
        open=np.asarray(schedule["open"].dt.as_unit("ns").astype("int64")),
        close=np.asarray(schedule["close"].dt.as_unit("ns").astype("int64")),
    )
    return ExchangeDays(name, calendar, schedule.index.to_numpy().astype("datetime64[D]").astype(np.int64))
