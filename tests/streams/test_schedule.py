"""Which trading day is due: half days, holidays, weekends and summer time included."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from infra.calendars import calendar
from infra.composition import sessions
from infra.nightly.trading_days import trading_days
from infra.settings import Fold
from processors.sessions import session_at
from schemas.errors import InputError, SettingsError
from streams.schedule import TradingDay, TradingDays, UtcDays, due, told

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # its use of pandas 3.1
NEW_YORK = ZoneInfo("America/New_York")
SETTLE_NS = 900 * 1_000_000_000
HALF_DAYS_2026 = {date(2026, 11, 27), date(2026, 12, 24)}
HOLIDAYS_2026 = {
    date(2026, 1, 1), date(2026, 1, 19), date(2026, 2, 16), date(2026, 4, 3), date(2026, 5, 25), date(2026, 6, 19),
    date(2026, 7, 3), date(2026, 9, 7), date(2026, 11, 26), date(2026, 12, 25),
}  # fmt: skip
"""As the New York Stock Exchange has published them."""


def ns(at: datetime) -> int:
    return round(at.timestamp()) * 1_000_000_000


def utc(text: str) -> int:
    return ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def new_york(day: date, hour: int, minute: int = 0) -> int:
    return ns(datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK))


@pytest.fixture(scope="module")
def xnys() -> TradingDays:
    return trading_days("XNYS")


def test_every_day_of_a_year_is_as_the_exchange_has_published_it(xnys: TradingDays) -> None:
    trading = [date(2026, 1, 1) + timedelta(days=k) for k in range(365)]
    trading = [day for day in trading if day.weekday() < 5 and day not in HOLIDAYS_2026]
    expected = [
        TradingDay(
            day,
            new_york(day, 0),
            new_york(day, 9, 30),
            new_york(day, 13 if day in HALF_DAYS_2026 else 16),
            new_york(after, 0),
        )
        for day, after in zip(trading, [*trading[1:], date(2027, 1, 4)], strict=True)
    ]
    assert [xnys.on(day) for day in trading] == expected
    assert all(xnys.on(day) is None for day in HOLIDAYS_2026)
    assert xnys.on(date(2026, 11, 28)) is None  # a Saturday


def test_a_session_has_the_bounds_that_the_fold_gives_it(xnys: TradingDays) -> None:
    fold = sessions(Fold())
    for day in (date(2026, 3, 6), date(2026, 3, 9), date(2026, 11, 2), date(2026, 11, 27)):
        found = xnys.on(day)
        assert found is not None
        assert session_at(fold.calendar_number("USA"), found.open_ns, fold.table, fold.bounds) == (
            found.start_ns, found.open_ns, found.close_ns, found.until_ns,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-06T21:14:59", date(2026, 3, 5)),  # closes at 21:00, settles a quarter of an hour
        ("2026-03-06T21:15:00", date(2026, 3, 6)),
        ("2026-03-09T20:14:59", date(2026, 3, 6)),  # summer time began on the 8th: an hour earlier
        ("2026-03-09T20:15:00", date(2026, 3, 9)),
        ("2026-11-27T18:14:59", date(2026, 11, 25)),  # Thanksgiving between, and a half day
        ("2026-11-27T18:15:00", date(2026, 11, 27)),
        ("2026-11-29T12:00:00", date(2026, 11, 27)),  # Sunday
    ],
)
def test_the_newest_session_that_has_settled_is_due(xnys: TradingDays, now: str, expected: date) -> None:
    found = due(xnys, utc(now), SETTLE_NS)
    assert found is not None
    assert found.day == expected


def test_a_session_that_has_not_settled_is_refused_with_when_it_will_have(xnys: TradingDays) -> None:
    wanted = date(2026, 11, 27)
    with pytest.raises(
        InputError, match=r"closes its session of 2026-11-27 at 2026-11-27T18:00:00Z and has settled at .*18:15"
    ):
        due(xnys, utc("2026-11-27T18:14:59"), SETTLE_NS, wanted)
    found = due(xnys, utc("2026-11-27T18:15:00"), SETTLE_NS, wanted)
    assert found is not None
    assert found.day == wanted


def test_a_day_without_trading_is_not_due_even_when_it_is_asked_for(xnys: TradingDays) -> None:
    assert due(xnys, utc("2026-11-30T00:00:00"), SETTLE_NS, date(2026, 11, 26)) is None


def test_records_count_until_the_session_has_settled(xnys: TradingDays) -> None:
    found = xnys.on(date(2026, 11, 27))
    assert found is not None
    assert found.ends_ns(SETTLE_NS) == utc("2026-11-27T18:15:00")
    assert found.ends_ns(10 * 86_400 * 1_000_000_000) == found.until_ns == utc("2026-11-30T05:00:00")


def test_trading_that_never_stops_has_utc_days() -> None:
    days = UtcDays("24/7")
    midnight = utc("2026-11-28T00:00:00")
    expected = TradingDay(
        date(2026, 11, 27), utc("2026-11-27T00:00:00"), utc("2026-11-27T00:00:00"), midnight, midnight
    )
    assert due(days, midnight + SETTLE_NS, SETTLE_NS) == days.on(date(2026, 11, 27)) == expected
    assert due(days, midnight + SETTLE_NS - 1, SETTLE_NS) == days.on(date(2026, 11, 26))
    assert expected.ends_ns(SETTLE_NS) == midnight


def test_utc_days_agree_with_a_calendar_at_every_hour_around_a_change_of_summer_time() -> None:
    days = trading_days("24/7")
    for hour in range(72):
        at = utc("2026-10-24T00:00:00") + hour * 3600 * 1_000_000_000
        expected = datetime.fromtimestamp(at // 1_000_000_000, UTC).date() - timedelta(days=1)
        assert days.closed(at).day == expected


def test_a_date_that_the_calendar_does_not_reach_is_refused(xnys: TradingDays) -> None:
    for day in (date(1990, 1, 2), date(2090, 1, 3)):
        with pytest.raises(InputError, match=rf"calendar XNYS: expected a date from .*, was {day}"):
            xnys.on(day)
    with pytest.raises(InputError, match="calendar XNYS: expected a date"):
        xnys.closed(0)


def test_a_calendar_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SettingsError, match="no exchange calendar is named 'XNIS'"):
        trading_days("XNIS")


@pytest.mark.parametrize("name", ["XTKS", "XLON", "XHKG", "XASX", "XKAR", "CMES"])
def test_sessions_of_every_calendar_are_in_order_and_hold_their_trading(name: str) -> None:
    days = trading_days(name)
    at = utc("2026-11-20T00:00:00")
    found = [days.closed(at - k * 86_400 * 1_000_000_000) for k in range(200)]
    bounds = np.array([(day.open_ns, day.close_ns, day.until_ns) for day in found])
    assert (bounds[:, 0] < bounds[:, 1]).all()
    assert (bounds[:, 1] <= bounds[:, 2]).all()
    assert all(days.on(day.day) == day for day in found)
    of_the_fold = calendar(name).start
    assert np.isin([day.start_ns for day in found], of_the_fold).all()
    assert np.isin(bounds[:, 2], of_the_fold).all()


def test_times_are_told_to_the_second() -> None:
    assert told(utc("2026-11-27T18:00:00")) == "2026-11-27T18:00:00Z"
