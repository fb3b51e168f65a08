"""Exchange calendars as arrays, remembered in a file: computing one takes a second of every start, most of it imports."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from infra.private import private_folder
from processors.sessions import Calendar
from schemas.errors import SettingsError

FIRST_SESSION: Final = "1998-01-01"
LAST_SESSION: Final = "2035-12-31"
MAKERS: Final = ("exchange-calendars", "pandas", "tzdata")
"""Distributions that decide what a calendar says: a file of other versions is not read."""


def calendar(name: str, kept: Path | None = None) -> Calendar:
    """The sessions of an exchange, from the folder `kept` where they are there. `SettingsError` for a name that is none."""
    if kept is None:
        return _computed(name)
    path = kept / f"2-{name}-{FIRST_SESSION}-{LAST_SESSION}-{'-'.join(version(maker) for maker in MAKERS)}.npz"
    if (found := _read(path)) is not None:
        return found
    made = _computed(name)
    private_folder(kept)
    draft = path.with_suffix(".new.npz")
    np.savez(draft, start=made.start, open=made.open, close=made.close)
    draft.replace(path)
    return made


def _read(path: Path) -> Calendar | None:
    """None where there is no such file, or not a whole one."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Calendar(file["start"], file["open"], file["close"])
    except (FileNotFoundError, BadZipFile, ValueError, EOFError, KeyError):
        return None


def _computed(name: str) -> Calendar:
    import exchange_calendars  # noqa: PLC0415

    try:
        found = exchange_calendars.get_calendar(name, start=FIRST_SESSION, end=LAST_SESSION)
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise SettingsError(
            f"TICKWIRE_FOLD__CALENDARS: no exchange calendar is named {name!r}, for example XNYS"
        ) from error
    made = sessions_of(found)
    if not (made.close[:-1] <= made.start[1:]).all():
        raise SettingsError(
            f"TICKWIRE_FOLD__CALENDARS: sessions of {name} overlap; name the calendar of another exchange"
        )
    return made


def sessions_of(found: Any) -> Calendar:
    """Of a calendar of `exchange_calendars`: sessions start at local midnight, or when they open on the evening before."""
    schedule = found.schedule
    local = schedule.index.tz_localize(found.tz, nonexistent="shift_forward", ambiguous=True)
    opened, closed = (np.asarray(schedule[each].dt.as_unit("ns").astype("int64")) for each in ("open", "close"))
    return Calendar(np.minimum(local.tz_convert("UTC").as_unit("ns").asi8, opened), opened, closed)
