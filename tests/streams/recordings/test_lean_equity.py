"""LEAN's equity ticks: what a row means, and how our minutes compare with LEAN's own bars."""

import csv
import gzip
from collections import defaultdict
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from schemas.events import Quote, Trade
from schemas.rows import DeadLetter
from schemas.topics import EVENTS
from streams.recordings.detect import open_recording
from streams.recordings.lean_equity import LeanQuotes, LeanTrades, counts_in_bars
from streams.recordings.lines import LineFile
from streams.recordings.recording import Recorded
from tests.streams.recordings.files import SHARED, needs_recordings, only, plain, read

DAY = date(2013, 10, 7)
SYMBOL_DAYS = [(symbol, day) for symbol in ("spy", "ibm", "bac") for day in ("20131007", "20131008")]
MINUTE_NS = 60_000_000_000


def ns(text: str) -> int:
    """An ISO time as ns since the epoch."""
    return round(datetime.fromisoformat(text).timestamp() * 1_000) * 1_000_000


def trades(tmp_path: Path, *rows: str, day: date = DAY) -> list[Recorded]:
    return read(LeanTrades(LineFile(plain(tmp_path / "trade.csv", *rows)), "SPY", day))


def quotes(tmp_path: Path, *rows: str) -> list[Recorded]:
    return read(LeanQuotes(LineFile(plain(tmp_path / "quote.csv", *rows)), "IBM", DAY))


def test_a_trade_row_becomes_a_trade_in_dollars_and_utc(tmp_path: Path) -> None:
    assert trades(tmp_path, "34200692,1674100,400,Q,20000020,0") == [
        Trade(
            symbol="SPY", venue="USA", seq=20131007_000000001, ts_event=ns("2013-10-07T13:30:00.692+00:00"),
            ts_ingest=0, price=167.41, size=400.0, conditions="Q:20000020", in_bars=True,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2013, 10, 7), "2013-10-07T13:30:00+00:00"),
        (date(2013, 11, 1), "2013-11-01T13:30:00+00:00"),
        (date(2013, 11, 4), "2013-11-04T14:30:00+00:00"),
        (date(2014, 3, 7), "2014-03-07T14:30:00+00:00"),
        (date(2014, 3, 10), "2014-03-10T13:30:00+00:00"),
    ],
)
def test_half_past_nine_in_new_york_follows_summer_time(tmp_path: Path, day: date, expected: str) -> None:
    assert only(Trade, trades(tmp_path, "34200000,1674100,400,Q,1,0", day=day))[0].ts_event == ns(expected)


def test_on_the_day_of_the_change_hours_before_and_after_it_have_their_own_offset(tmp_path: Path) -> None:
    rows = ("3600000,10000,1,P,1,0", "14400000,10000,1,P,1,0")
    found = only(Trade, trades(tmp_path, *rows, day=date(2013, 11, 3)))
    assert [trade.ts_event for trade in found] == [ns("2013-11-03T05:00:00+00:00"), ns("2013-11-03T09:00:00+00:00")]


@pytest.mark.parametrize(
    ("flags", "counts"),
    [
        (0x1, True), (0x20000020, True), (0x2000, True), (0x40, True), (0x80, True), (0x20000080, True),
        (0x20100000, True), (0x20000200, True), (0x4800, True), (0x4000000, False), (0x1000000, False),
        (0x1000001, False), (0x20200040, False), (0x20200080, False),
    ],
)  # fmt: skip
def test_official_and_foreign_auction_prints_set_no_bar_and_everything_else_does(flags: int, counts: bool) -> None:
    assert counts_in_bars(flags) is counts


def test_milliseconds_may_have_a_fraction(tmp_path: Path) -> None:
    first, second = only(Trade, trades(tmp_path, "34200000,1,1,Q,,0", "34200000.1234,1,1,Q,,0"))
    assert second.ts_event - first.ts_event == 123_400


def test_a_suspicious_trade_is_kept_but_sets_no_bar(tmp_path: Path) -> None:
    (trade,) = only(Trade, trades(tmp_path, "34200000,1674100,400,Q,1,1"))
    assert not trade.in_bars


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("34200000,0,400,Q,1,0", "invalid_value", "price and size above 0, found 0 and 400"),
        ("34200000,1674100,0,Q,1,0", "invalid_value", "found 1674100 and 0"),
        ("86400000,1674100,400,Q,1,0", "invalid_value", "milliseconds below 86400000"),
        ("34200000,1674100,400,Q,1", "undecodable", "expected 6 columns"),
        ("34200000,167.41,400,Q,1,0", "undecodable", "column 2 (price): expected digits, found '167.41'"),
        ("34200000,1_674,400,Q,1,0", "undecodable", "column 2 (price)"),
        ("3420000a,1674100,400,Q,1,0", "undecodable", "column 1 (milliseconds)"),
        ("34200000,1674100,400,Q,xyz,0", "undecodable", "column 5 (condition)"),
        ("34200000,-1674100,400,Q,1,0", "undecodable", "column 2 (price)"),
    ],
)
def test_a_bad_row_is_a_dead_letter_with_its_line_and_the_rest_goes_on(
    tmp_path: Path, row: str, reason: str, detail: str
) -> None:
    good = "34200001,1674100,400,Q,1,0"
    first, bad, last = trades(tmp_path, good, row, good)
    assert isinstance(first, Trade)
    assert isinstance(last, Trade)
    assert last.seq == first.seq + 2
    assert isinstance(bad, DeadLetter)
    assert (bad.source, bad.offset, bad.reason, bad.raw) == (f"{tmp_path.name}/trade.csv", 2, reason, row.encode())
    assert detail in bad.detail


def test_one_sided_rows_are_joined_and_nothing_is_said_until_both_sides_are_known(tmp_path: Path) -> None:
    found = only(
        Quote,
        quotes(
            tmp_path,
            "34200000,0,0,1818000,300,P,1,0",
            "34200001,0,0,1817000,200,P,1,0",
            "34200002,1812400,100,0,0,Q,1,0",
            "34200003,0,0,1816000,500,Q,1,0",
            "34200004,1813000,700,1815000,900,Q,1,0",
        ),
    )
    assert [(quote.bid, quote.bid_size, quote.ask, quote.ask_size) for quote in found] == [
        (181.24, 100.0, 181.7, 200.0), (181.24, 100.0, 181.6, 500.0), (181.3, 700.0, 181.5, 900.0),
    ]  # fmt: skip
    assert [quote.seq for quote in found] == [20131007_000000003, 20131007_000000004, 20131007_000000005]


@pytest.mark.parametrize("row", ["34200001,0,0,1900000,100,P,1,1", "34200001,0,0,0,0,P,1,0"])
def test_a_suspicious_or_empty_quote_row_is_a_dead_letter_and_moves_no_side(tmp_path: Path, row: str) -> None:
    items = quotes(tmp_path, "34200000,1812400,100,1818000,300,P,1,0", row, "34200002,1812500,100,0,0,P,1,0")
    assert [type(item) for item in items] == [Quote, DeadLetter, Quote]
    assert isinstance(items[2], Quote)
    assert items[2].ask == 181.8


def test_blank_lines_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    (trade,) = trades(tmp_path, "", "34200000,1674100,400,Q,1,0\r", "")
    assert isinstance(trade, Trade)


def bars_of(symbol: str, day: str) -> dict[int, tuple[float, ...]]:
    """LEAN's own minute bars: start (ms) to open, high, low, close, volume."""
    with gzip.open(SHARED / "bars" / f"lean_usa_minute_{symbol}_{day}_trade.csv.gz", "rt") as lines:
        return {int(row[0]): tuple(float(cell) for cell in row[1:]) for row in csv.reader(lines)}


def real_trades(symbol: str, day: str) -> list[Trade]:
    return only(Trade, read(open_recording(SHARED / "ticks" / f"lean_usa_tick_{symbol}_{day}_trade.csv.gz")))


def minute_of(trade: Trade) -> int:
    """Start of its minute in New York (UTC-4 on these days), ms since midnight."""
    return ((trade.ts_event // MINUTE_NS * MINUTE_NS) // 1_000_000 - 4 * 3_600_000) % 86_400_000


@pytest.mark.parametrize("symbol_day", SYMBOL_DAYS, ids=lambda it: f"{it[0]} {it[1]}")
class TestLeansOwnBars:
    pytestmark = needs_recordings

    def test_minute_volume_equals_leans_in_at_least_99_percent_of_minutes(self, symbol_day: tuple[str, str]) -> None:
        volume: dict[int, float] = defaultdict(float)
        for trade in real_trades(*symbol_day):
            if trade.in_bars:
                volume[minute_of(trade)] += trade.size
        bars = bars_of(*symbol_day)
        assert volume.keys() - bars.keys() == set()
        share = sum(volume.get(minute, 0.0) == bar[4] for minute, bar in bars.items()) / len(bars)
        assert share >= 0.99

    def test_prices_equal_leans_where_lean_lets_them_count(self, symbol_day: tuple[str, str]) -> None:
        """LEAN takes no price from sweeps, averages and derived prices while the exchange is open, and all before and after."""
        prices: dict[int, list[float]] = defaultdict(list)
        for trade in real_trades(*symbol_day):
            minute, flags = minute_of(trade), int(trade.conditions.split(":")[1], 16)
            regular = 34_200_000 <= minute < 57_600_000
            if trade.in_bars and not (regular and flags & (0x20 | 0x100000 | 0x200)):
                prices[minute].append(round(trade.price * 10_000))
        bars = bars_of(*symbol_day)
        same = sum((p[0], max(p), min(p), p[-1]) == bars[minute][:4] for minute, p in prices.items() if minute in bars)
        assert same / len(bars) >= 0.99


@pytest.mark.parametrize("day", ["20131007", "20131008"])
class TestRealQuotes:
    pytestmark = needs_recordings

    def test_ibm_is_crossed_in_less_than_one_row_of_a_thousand_in_regular_hours(self, day: str) -> None:
        items = read(open_recording(SHARED / "quotes" / f"lean_usa_tick_ibm_{day}_quote.csv.gz"))
        opens = ns(f"{day[:4]}-{day[4:6]}-{day[6:]}T13:30:00+00:00")
        regular = [q for q in only(Quote, items) if opens <= q.ts_event < opens + 390 * MINUTE_NS]
        assert len(regular) > 100_000
        assert sum(quote.bid > quote.ask for quote in regular) / len(regular) < 0.001
        assert [letter.detail for letter in only(DeadLetter, items)] == ["marked suspicious by the source"]


class TestRealTrades:
    pytestmark = needs_recordings

    def test_every_spy_trade_is_read_numbered_in_order_and_fit_for_the_topic(self) -> None:
        found = real_trades("spy", "20131007")
        assert len(found) == 250_601
        assert all(a.seq < b.seq and a.ts_event <= b.ts_event for a, b in pairwise(found))
        assert all(EVENTS.decode(EVENTS.encode(trade)) == trade for trade in found[::101])
        first, last = (datetime.fromtimestamp(found[i].ts_event / 1e9, UTC).isoformat()[:19] for i in (0, -1))
        assert (first, last) == ("2013-10-07T08:00:00", "2013-10-07T23:59:59")
