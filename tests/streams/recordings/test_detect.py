"""What a file is told to be, by its content, its name and the options; and what is refused."""

import random
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.events import Quote, Trade
from schemas.rows import DeadLetter
from streams.recordings.binance import BinanceCapture
from streams.recordings.detect import files_in, open_recording
from streams.recordings.labels import Labels
from streams.recordings.lean_equity import LeanQuotes, LeanTrades
from streams.recordings.lean_forex import LeanForex
from tests.streams.recordings.files import SHARED, gzipped, needs_recordings, plain, read, zipped

TRADE = "34200692,1674100,400,Q,20000020,0"
QUOTE = "34200692,1674100,400,0,0,Q,1,0"
BOTH_SIDES = "34200692,1674100,400,1674200,300,Q,1,0"
FOREX = "339,1.38833,1.38835"
BINANCE = (
    '1723161254087896568 {"stream":"btcusdt@trade","data":{"E":1723161255343,"s":"BTCUSDT","t":1,"p":"61837.6",'
    '"q":"0.02","T":1723161255342,"m":true}}'
)


def test_our_names_say_symbol_day_kind_and_broker(tmp_path: Path) -> None:
    found = open_recording(gzipped(tmp_path / "lean_usa_tick_spy_20131007_trade.csv.gz", TRADE))
    assert isinstance(found, LeanTrades)
    assert found.symbols == frozenset({"SPY"})
    (trade,) = read(found)
    assert isinstance(trade, Trade)
    assert trade.seq == 20131007_000000001
    forex = open_recording(gzipped(tmp_path / "lean_fxcm_tick_eurusd_20140508_quote.csv.gz", FOREX))
    assert isinstance(forex, LeanForex)
    assert (forex.symbol, forex.venue) == ("EURUSD", "FXCM")


@pytest.mark.parametrize(
    ("path", "member", "row", "kind"),
    [
        ("equity/usa/tick/spy/20131007_trade.zip", "20131007_spy_trade_tick__csv", TRADE, LeanTrades),
        ("equity/usa/tick/brk.a/20131007_quote.zip", "20131007_brk.a_quote_tick__csv", BOTH_SIDES, LeanQuotes),
        ("forex/oanda/tick/eurusd/20140508_quote.zip", "20140508_eurusd_Quote_tick__csv", FOREX, LeanForex),
        ("elsewhere.zip", "20131007_spy_Trade_Tick__csv", TRADE, LeanTrades),
    ],
)
def test_leans_own_folders_and_zips_say_it_too(
    tmp_path: Path, path: str, member: str, row: str, kind: type[LeanTrades]
) -> None:
    found = open_recording(zipped(tmp_path / path, **{member: row + "\n"}))
    assert isinstance(found, kind)
    assert found.symbol in ("SPY", "BRK.A", "EURUSD")


def test_options_say_what_the_name_does_not(tmp_path: Path) -> None:
    path = plain(tmp_path / "ticks.csv", TRADE)
    with pytest.raises(InputError, match="say neither symbol nor day"):
        open_recording(path)
    (trade,) = read(open_recording(path, Labels(symbol="QQQ", day=date(2013, 10, 8))))
    assert isinstance(trade, Trade)
    assert (trade.symbol, trade.seq // 10**9) == ("QQQ", 20131008)


def test_options_win_over_the_name(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "lean_usa_tick_spy_20131007_trade.csv.gz", TRADE)
    assert open_recording(path, Labels(symbol="VOO")).symbols == frozenset({"VOO"})


def test_a_raw_capture_needs_no_name(tmp_path: Path) -> None:
    assert isinstance(open_recording(plain(tmp_path / "anything", BINANCE)), BinanceCapture)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("lean_usa_tick_spy_20131007_quote.csv", [TRADE], "expected quotes as the name says, found LEAN equity trade ticks"),
        ("lean_usa_tick_spy_20131007_trade.csv", [QUOTE], "expected trades as the name says, found LEAN equity quote"),
        ("lean_fxcm_tick_eurusd_20140508_quote.csv", [QUOTE], "expected FXCM ticks as the name says, found LEAN equity"),
        ("lean_usa_tick_spy_20131007_quote.csv", [FOREX], "expected the broker to be one of"),
        ("lean_usa_tick_spy_20131007_trade.csv", [BINANCE], "expected LEAN ticks as the name says, found a raw capture"),
        ("lean_usa_tick_spy_20131377_trade.csv", [TRADE], "expected a day as yyyymmdd, found '20131377'"),
        ("lean_usa_tick_spy_20131007_trade.csv", ["34200000,167,168,166,167,99"], r"csv:1: expected .*column 4 \(exchange\)"),
        ("lean_usa_tick_spy_20131007_trade.csv", ["34200692,1674100,400,Q"], "expected 6 columns .* found 4"),
        ("lean_usa_tick_spy_20131007_trade.csv", ["a,b,c,d,e,f"], r"column 1 \(milliseconds\): expected"),
        ("notes.csv", ["once upon a time"], "csv:1: expected LEAN .* found 'once upon a time'"),
        ("blank.csv", ["", ""], "the file has no rows"),
        ("bad.csv", ["1723161254087896568 {\"stream\":1}"], "csv:1: none of the first rows can be read"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_says_is_refused_with_line_and_reason(
    tmp_path: Path, name: str, rows: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_recording(plain(tmp_path / name, *rows))
    assert name in str(caught.value)


def test_binary_junk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lean_usa_tick_spy_20131007_trade.csv"
    path.write_bytes(b"\x00\x01" + random.Random(7).randbytes(200_000))
    with pytest.raises(InputError, match="csv:1: expected LEAN"):
        open_recording(path)


def test_a_gzip_cut_in_its_head_is_refused_at_once(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "lean_usa_tick_spy_20131007_trade.csv.gz", *[TRADE] * 50)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"gz:\d+: the file breaks off"):
        open_recording(path)


def test_quotes_that_never_know_both_sides_are_no_recording(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trade and no quote in it"):
        open_recording(plain(tmp_path / "lean_usa_tick_spy_20131007_quote.csv", QUOTE))


def test_a_bad_first_row_is_a_dead_letter_where_the_rest_is_good(tmp_path: Path) -> None:
    path = plain(tmp_path / "lean_usa_tick_spy_20131007_trade.csv", "junk", TRADE, TRADE)
    assert [type(item) for item in read(open_recording(path))] == [DeadLetter, Trade, Trade]


def test_a_mostly_quote_file_is_told_by_most_of_its_rows(tmp_path: Path) -> None:
    path = plain(tmp_path / "lean_usa_tick_spy_20131007_quote.csv", TRADE, BOTH_SIDES, BOTH_SIDES)
    assert [type(item) for item in read(open_recording(path))] == [DeadLetter, Quote, Quote]


def test_a_directory_gives_all_its_recordings_sorted(tmp_path: Path) -> None:
    for name in ("b.csv", "a/c.csv", "a/readme.md"):
        plain(tmp_path / name, TRADE)
    assert files_in([tmp_path]) == [tmp_path / "a/c.csv", tmp_path / "b.csv"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="expected a directory with"):
        files_in([empty])


def test_a_directory_is_entered_through_links_and_each_once(tmp_path: Path) -> None:
    plain(tmp_path / "elsewhere/spy.csv", TRADE)
    played = tmp_path / "played"
    plain(played / "a.csv", TRADE)
    (played / "equity").symlink_to(tmp_path / "elsewhere")
    (played / "round").symlink_to(played)
    assert files_in([played]) == [played / "a.csv", played / "equity/spy.csv"]


@pytest.mark.parametrize("name", ["b.csv.zst", "b.csv.BZ2", "deep/b.tgz"])
def test_a_file_that_cannot_be_unpacked_is_told_and_not_left_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("x")
    packed = tmp_path / name
    packed.parent.mkdir(exist_ok=True)
    packed.write_bytes(b"(\xb5/\xfd\0")
    for asked in (tmp_path, packed):
        with pytest.raises(InputError, match=f"{packed}: expected a plain file, gzip, zip or Parquet, found ") as told:
            [open_recording(file) for file in files_in([asked])]
        assert str(told.value).endswith("unpack it, or pack it with gzip")


def test_a_file_may_begin_with_many_rows_that_give_nothing(tmp_path: Path) -> None:
    rows = [*["34200000,0,0,0,0,Q,1,0"] * 500, BOTH_SIDES]
    path = plain(tmp_path / "lean_usa_tick_spy_20131007_quote.csv", *rows)
    assert Counter(map(type, read(open_recording(path)))) == {DeadLetter: 500, Quote: 1}


def test_rows_from_the_newest_to_the_oldest_are_refused(tmp_path: Path) -> None:
    rows = [f"{34200000 - ms},1674100,100,Q,1,0" for ms in (0, 0, 5, 7, 7)]
    path = plain(tmp_path / "lean_usa_tick_spy_20131007_trade.csv", *rows)
    with pytest.raises(InputError, match=r"order of time, found them from the newest to the oldest; sort them first"):
        open_recording(path)
    path = plain(tmp_path / "lean_usa_tick_spy_20131007_trade.csv", *rows, "34200001,1674100,100,Q,1,0")
    assert len(read(open_recording(path))) == 6


class TestRealFilesThatAreNotTicks:
    pytestmark = needs_recordings

    @pytest.mark.parametrize(
        "name",
        [
            "bars/lean_usa_minute_spy_20131007_trade.csv.gz", "bars/lean_usa_minute_spy_20131007_quote.csv.gz",
            "bars/lean_usa_daily_aapl.csv.gz", "quotes/truefx_usdjpy_201301.csv.gz", "news/fiqa_post.json",
            "ticks/hftbacktest_hyperliquid_btc_20250126.raw.gz", "ticks/lean_comex_tick_gc_20131007_trade.zip",
            "news/sec_current_filings_20251211_20251212.zip", "quotes/lean_usa_second_spy_20131007_quote.csv.gz",
        ],
    )  # fmt: skip
    def test_they_are_refused(self, name: str) -> None:
        with pytest.raises(InputError):
            open_recording(SHARED / name)
