"""LEAN's forex ticks: two brokers, two clocks."""

from bisect import bisect_right
from datetime import date
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.events import Quote
from schemas.rows import DeadLetter
from streams.recordings.detect import open_recording
from streams.recordings.lean_forex import LeanForex
from streams.recordings.lines import LineFile
from tests.streams.recordings.files import SHARED, needs_recordings, only, plain, read

HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize(("venue", "hours"), [("OANDA", 0), ("FXCM", 5)])
@pytest.mark.parametrize("day", [date(2014, 1, 8), date(2014, 7, 8)])
def test_each_broker_keeps_its_own_midnight_in_winter_and_summer(
    tmp_path: Path, venue: str, hours: int, day: date
) -> None:
    path = plain(tmp_path / "quote.csv", "1500,1.38833,1.38835")
    midnight = (day - date(1970, 1, 1)).days * 24 * HOUR_NS
    assert read(LeanForex(LineFile(path), "EURUSD", day, venue)) == [
        Quote(
            symbol="EURUSD", venue=venue, seq=int(f"{day:%Y%m%d}") * 10**9 + 1,
            ts_event=midnight + hours * HOUR_NS + 1_500_000_000, ts_ingest=0, bid=1.38833, bid_size=0.0, ask=1.38835,
            ask_size=0.0,
        )
    ]  # fmt: skip


def test_a_broker_whose_clock_is_unknown_is_refused(tmp_path: Path) -> None:
    path = plain(tmp_path / "lean_other_tick_eurusd_20140508_quote.csv", "1500,1.38833,1.38835")
    with pytest.raises(InputError, match="expected the broker to be one of OANDA, FXCM, found 'OTHER'"):
        open_recording(path)


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ("1500,1.38833", "expected 3 columns"),
        ("1500,1.38833,x", "column 3 (ask): expected a decimal number, found 'x'"),
        ("1500,nan,1.38835", "column 2 (bid)"),
        ("1500,0,1.38835", "expected prices above 0"),
    ],
)
def test_a_bad_row_is_a_dead_letter(tmp_path: Path, row: str, detail: str) -> None:
    path = plain(tmp_path / "quote.csv", "1500,1.38833,1.38835", row)
    _, bad = read(LeanForex(LineFile(path), "EURUSD", date(2014, 5, 8), "OANDA"))
    assert isinstance(bad, DeadLetter)
    assert detail in bad.detail


def test_a_crossed_quote_is_given_as_the_broker_gave_it(tmp_path: Path) -> None:
    path = plain(tmp_path / "quote.csv", "1500,1.38840,1.38835")
    (quote,) = only(Quote, read(LeanForex(LineFile(path), "EURUSD", date(2014, 5, 8), "FXCM")))
    assert quote.bid > quote.ask


class TestRealBrokers:
    pytestmark = needs_recordings

    def test_both_brokers_tell_the_same_price_at_the_same_time_and_at_no_other_offset(self) -> None:
        oanda, fxcm = (
            only(Quote, read(open_recording(SHARED / "quotes" / f"lean_{broker}_tick_eurusd_20140508_quote.csv.gz")))
            for broker in ("oanda", "fxcm")
        )
        assert (len(oanda), len(fxcm)) == (87_833, 167_466)
        times = [quote.ts_event for quote in oanda]

        def mean_difference(shift_hours: int) -> float:
            differences = []
            for quote in fxcm[::50]:
                at = bisect_right(times, quote.ts_event + shift_hours * HOUR_NS) - 1
                if 0 <= at < len(oanda) - 1:
                    other = oanda[at]
                    differences.append(abs(quote.bid + quote.ask - other.bid - other.ask) / 2)
            return sum(differences) / len(differences)

        assert mean_difference(0) < 0.00005
        assert min(mean_difference(shift) for shift in (-5, -4, -1, 1)) > 0.0002
