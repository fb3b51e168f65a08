"""Which trading day's nightly run is due; calendars and the time come as arguments."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol

import numpy as np

from processors.batch import NS, Integers
from processors.sessions import DAY_NS, Calendar
from schemas.errors import InputError

EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class TradingDay:
    """One session, ns since the Unix epoch: from its start to the start of the next, with regular trading inside.

    The same bounds as the fold's (`processors.sessions`): a fold that begins at `start_ns` knows all its features depend on.
    """

    day: date
    start_ns: int
    open_ns: int
    close_ns: int
    until_ns: int

    def ends_ns(self, settle_ns: int) -> int:
        """Up to when records count: what comes within `settle_ns` of the close, but nothing of the next session."""
        return min(self.close_ns + settle_ns, self.until_ns)


class TradingDays(Protocol):
    """The sessions of one calendar."""

    @property
    def name(self) -> str:
        """As operators name it."""

    def on(self, day: date) -> TradingDay | None:
        """The session of this date; None where there is no trading."""

    def closed(self, at_ns: int) -> TradingDay:
        """The newest session whose close is not after `at_ns`."""


@dataclass(frozen=True, slots=True)
class UtcDays:
    """Trading that never stops: every UTC day, closed when it is over."""

    name: str

    def on(self, day: date) -> TradingDay:
        start = (day - EPOCH).days * DAY_NS
        return TradingDay(day, start, start, start + DAY_NS, start + DAY_NS)

    def closed(self, at_ns: int) -> TradingDay:
        return self.on(EPOCH + timedelta(days=at_ns // DAY_NS - 1))


@dataclass(frozen=True, slots=True)
class ExchangeDays:
    """The sessions of an exchange in order; `days`, int64: days since 1970-01-01 of their local dates."""

    name: str
    calendar: Calendar
    days: Integers

    def on(self, day: date) -> TradingDay | None:
        number = (day - EPOCH).days
        if not self.days[0] <= number < self.days[-1]:  # of the last one nobody knows where the next begins
            raise self._unknown(day)
        at = int(np.searchsorted(self.days, number))
        return self._at(at) if self.days[at] == number else None

    def closed(self, at_ns: int) -> TradingDay:
        at = int(np.searchsorted(self.calendar.close, at_ns, side="right")) - 1
        if not 0 <= at < len(self.days) - 1:
            raise self._unknown(EPOCH + timedelta(days=at_ns // DAY_NS))
        return self._at(at)

    def _at(self, at: int) -> TradingDay:
        return TradingDay(
            EPOCH + timedelta(days=int(self.days[at])), int(self.calendar.start[at]), int(self.calendar.open[at]),
            int(self.calendar.close[at]), int(self.calendar.start[at + 1]),
        )  # fmt: skip

    def _unknown(self, day: date) -> InputError:
        first, last = (EPOCH + timedelta(days=int(self.days[k])) for k in (0, -1))
        return InputError(f"calendar {self.name}: expected a date from {first} to before {last}, was {day}")


def due(days: TradingDays, now_ns: int, settle_ns: int, wanted: date | None = None) -> TradingDay | None:
    """The session to run: the one that was asked for, else the newest that has settled; None where that date has none.

    A session has settled `settle_ns` after its close. `InputError` where the one that was asked for has not.
    """
    if wanted is None:
        return days.closed(now_ns - settle_ns)
    day = days.on(wanted)
    if day is not None and now_ns < day.close_ns + settle_ns:
        raise InputError(
            f"{days.name} closes its session of {wanted} at {told(day.close_ns)} and has settled at "
            f"{told(day.close_ns + settle_ns)}; it is {told(now_ns)}: run it after that"
        )
    return day


def told(ns: int) -> str:
    """A time as people read it, to the second."""
    return f"{datetime.fromtimestamp(ns // NS, UTC):%Y-%m-%dT%H:%M:%SZ}"
