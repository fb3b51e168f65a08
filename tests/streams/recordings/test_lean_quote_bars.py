"""LEAN's quote bars of a second: the quote with which each second ended, known when it ended."""

from datetime import date
from pathlib import Path

import pytest

from schemas.events import Quote
from schemas.rows import DeadLetter
from streams.recordings.lean_quote_bars import LeanQuoteBars
from streams.recordings.recording import Recorded
from tests.streams.recordings.files import SHARED, needs_recordings, only, plain, read
from tests.streams.recordings.test_lean_equity import ns

DAY = date(2013, 10, 7)


def bars(tmp_path: Path, *rows: str) -> list[Recorded]:
    return read(LeanQuoteBars.open(plain(tmp_path / "quote.csv", *rows), "SPY", DAY))


def test_a_bar_becomes_its_closing_quote_at_its_end(tmp_path: Path) -> None:
    row = "41265000,1680400,1680700,1680300,1680500,31000,1680500,1680800,1680400,1680600,64200"
    assert bars(tmp_path, row) == [
        Quote(
            symbol="SPY", venue="USA", seq=20131007_000000001, ts_event=ns("2013-10-07T11:27:46-04:00"), ts_ingest=0,
            bid=168.05, bid_size=31000.0, ask=168.06, ask_size=64200.0,
        )
    ]  # fmt: skip


def test_a_bar_without_one_side_gives_nothing(tmp_path: Path) -> None:
    assert bars(tmp_path, "41265000,,,,,,1680500,1680800,1680400,1680600,64200") == []
    assert bars(tmp_path, "41265000,1680400,1680700,1680300,1680500,31000,,,,,") == []


def test_a_row_that_is_no_bar_is_a_dead_letter_with_its_reason(tmp_path: Path) -> None:
    (letter,) = only(DeadLetter, bars(tmp_path, "41265000,1680400,x,1680300,1680500,31000,1,2,3,4,5"))
    assert "column 3 (bid high): expected digits or nothing, found 'x'" in letter.detail
    (short,) = only(DeadLetter, bars(tmp_path, "41265000,1680400"))
    assert "expected 11 columns" in short.detail


@pytest.mark.parametrize("day", [7, 8])
@needs_recordings[0]
@needs_recordings[1]
def test_the_recorded_bars_are_quotes_of_a_penny_wide_market(day: int) -> None:
    path = SHARED / "quotes" / f"lean_usa_second_spy_2013100{day}_quote.csv.gz"
    items = read(LeanQuoteBars.open(path, "SPY", date(2013, 10, day)))
    quotes = only(Quote, items)
    assert not only(DeadLetter, items)
    assert len(quotes) > 25_000
    stamps = [quote.ts_event for quote in quotes]
    assert stamps == sorted(stamps)
    assert not any(quote.bid > quote.ask for quote in quotes)
    spreads = sorted(quote.ask - quote.bid for quote in quotes)
    assert spreads[len(spreads) // 2] == pytest.approx(0.01)
