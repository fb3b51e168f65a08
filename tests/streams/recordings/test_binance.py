"""Raw Binance captures, made up line by line: what each message becomes."""

from pathlib import Path

import msgspec
import pytest

from schemas.events import Quote, Side, Trade
from schemas.rows import DeadLetter
from streams.recordings.binance import BinanceCapture
from streams.recordings.binance_messages import TICKER
from streams.recordings.detect import open_recording
from streams.recordings.lines import LineFile
from streams.recordings.recording import Recorded
from tests.streams.recordings.files import gzipped, only, plain, read

MS = 1_000_000
T0 = 1_723_161_250_000_000_000
SIDES: list[tuple[int, Side]] = [(7, "sell"), (8, "buy")]


def at(ms: int, body: str) -> str:
    """A line received `ms` after T0."""
    return f"{T0 + ms * MS} {body}"


def trade(ms: int, number: int = 7, maker_bought: bool = True, price: str = "100.5") -> str:
    sent = T0 // MS + ms + 1_270
    return at(
        ms,
        f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{sent},"s":"BTCUSDT","t":{number},"p":"{price}",'
        f'"q":"0.25","T":{sent - 2},"m":{str(maker_bought).lower()},"M":true}}}}',
    )


def ticker(ms: int, update: int, bid: str = "100.0") -> str:
    return at(
        ms,
        f'{{"stream":"btcusdt@bookTicker","data":{{"u":{update},"s":"BTCUSDT","b":"{bid}","B":"3","a":"101","A":"4"}}}}',
    )


def depth(ms: int, first: int, last: int, bids: str = "") -> str:
    sent = T0 // MS + ms + 1_270
    return at(
        ms,
        f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{sent},"s":"BTCUSDT","U":{first},"u":{last},'
        f'"b":[{bids}],"a":[]}}}}',
    )


def snapshot(ms: int, last: int) -> str:
    return at(ms, f'{{"lastUpdateId":{last},"bids":[["100.0","3"],["99.0","1"]],"asks":[["101.0","4"]]}}')


def capture(tmp_path: Path, *lines: str) -> list[Recorded]:
    return read(BinanceCapture(LineFile(gzipped(tmp_path / "capture.raw.gz", *lines))))


def test_a_trade_is_told_with_venue_number_and_aggressor(tmp_path: Path) -> None:
    assert capture(tmp_path, trade(0, 7, maker_bought=True), trade(1, 8, maker_bought=False)) == [
        Trade(
            symbol="BTCUSDT", venue="BINANCE", seq=number, ts_event=T0 + (1_268 + number - 7) * MS, ts_ingest=0,
            price=100.5, size=0.25, side=side, trade_id=str(number),
        )
        for number, side in SIDES
    ]  # fmt: skip


def test_a_spot_quote_is_dated_by_its_neighbours(tmp_path: Path) -> None:
    items = capture(tmp_path, depth(0, 1, 4), ticker(30, 5), depth(100, 5, 6))
    (quote,) = only(Quote, items)
    assert quote == Quote(
        symbol="BTCUSDT", venue="BINANCE", seq=5, ts_event=T0 + 1_300 * MS, ts_ingest=0, bid=100.0, bid_size=3.0,
        ask=101.0, ask_size=4.0,
    )  # fmt: skip


def test_without_book_tickers_the_top_of_the_book_is_told_when_it_changes(tmp_path: Path) -> None:
    items = capture(
        tmp_path,
        depth(0, 1, 10),
        snapshot(50, 10),
        depth(100, 11, 12, '["98.0","1"]'),
        depth(200, 13, 15, '["100.5","2"]'),
        depth(300, 16, 16, '["100.5","0"]'),
    )
    assert [(quote.seq, quote.bid, quote.bid_size) for quote in only(Quote, items)] == [
        (10, 100.0, 3.0), (15, 100.5, 2.0), (16, 100.0, 3.0),
    ]  # fmt: skip
    assert [quote.ts_event for quote in only(Quote, items)] == [T0 + ms * MS for ms in (1_320, 1_470, 1_570)]


def test_a_hole_in_the_update_ids_is_a_dead_letter_and_quotes_wait_for_a_snapshot(tmp_path: Path) -> None:
    items = capture(
        tmp_path,
        snapshot(0, 10),
        depth(100, 11, 12),
        depth(200, 14, 15, '["100.5","2"]'),
        depth(300, 16, 16, '["100.7","2"]'),
        snapshot(350, 16),
        depth(400, 17, 17, '["100.9","2"]'),
    )
    (letter,) = only(DeadLetter, items)
    assert (letter.offset, letter.reason) == (3, "invalid_value")
    assert "14..15 do not follow 12" in letter.detail
    assert [quote.seq for quote in only(Quote, items)] == [10, 17]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1723161250 {}", "undecodable"),
        (at(5, '{"stream":"btcusdt@trade","data":{"e":"tr'), "undecodable"),
        (at(5, "\x00\x01"), "undecodable"),
        (trade(5, price="abc"), "invalid_value"),
        (trade(5, price="0"), "invalid_value"),
        (trade(5, price="NaN"), "invalid_value"),
        (trade(5, price="inf"), "invalid_value"),
        (at(5, '{"stream":"btcusdt@trade","data":{"e":"trade"}}'), "invalid_value"),
        (at(5, '{"stream":"btcusdt@kline_1m","data":{}}'), "unknown_type"),
        (at(5, '{"hello":1}'), "not_a_message"),
    ],
)
def test_a_bad_line_is_a_dead_letter_and_the_rest_goes_on(tmp_path: Path, line: str, reason: str) -> None:
    first, bad, last = capture(tmp_path, trade(0, 7), line, trade(10, 8))
    assert isinstance(first, Trade)
    assert isinstance(last, Trade)
    assert isinstance(bad, DeadLetter)
    assert (bad.offset, bad.reason, bad.raw) == (2, reason, line.encode())


def test_the_answer_to_a_subscription_is_no_event_and_no_error(tmp_path: Path) -> None:
    assert len(capture(tmp_path, at(0, '{"result":null,"id":1}'), trade(1))) == 1


def test_a_futures_trade_made_by_the_exchange_itself_sets_no_bar(tmp_path: Path) -> None:
    line = trade(0).replace('"M":true', '"X":"INSURANCE_FUND"')
    (item,) = capture(tmp_path, line)
    assert isinstance(item, Trade)
    assert (item.venue, item.in_bars) == ("BINANCE_USDM", False)


def test_blanks_in_the_json_change_nothing(tmp_path: Path) -> None:
    lines = [depth(0, 1, 4), ticker(30, 5), trade(50), depth(100, 5, 6)]
    blanks = [line.replace('":', '": ').replace(",", ", ").replace(" {", " { ", 1) for line in lines]
    path = gzipped(tmp_path / "blanks.raw.gz", *blanks)
    recording = open_recording(path)
    assert isinstance(recording, BinanceCapture)
    assert read(recording) == capture(tmp_path, *lines)


def futures_ticker(ms: int, symbol: str, more: str = "") -> str:
    sent = T0 // MS + ms
    return at(
        ms,
        f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"e":"bookTicker","u":{ms},"s":"{symbol}",{more}"b":"100",'
        f'"B":"3","a":"101","A":"4","T":{sent - 1},"E":{sent}}}}}',
    )


@pytest.mark.parametrize(
    ("symbol", "more", "venue"),
    [
        ("BTCUSDT", "", "BINANCE_USDM"),
        ("BNBUSDT", '"st":1,"ps":"BNBUSDT",', "BINANCE_USDM"),
        ("BTCUSDT_240927", "", "BINANCE_USDM"),
        ("BTCUSD_PERP", '"ps":"BTCUSD",', "BINANCE_COINM"),
        ("BTCUSD_PERP", "", "BINANCE_COINM"),
    ],
)
def test_a_capture_of_futures_tickers_alone_is_told_from_spot(
    tmp_path: Path, symbol: str, more: str, venue: str
) -> None:
    (quote,) = only(Quote, capture(tmp_path, futures_ticker(7, symbol, more)))
    assert (quote.venue, quote.symbol, quote.ts_event) == (venue, symbol, T0 + 6 * MS)


def aggregate(ms: int, number: int, market: str = "BTCUSDT", more: str = ',"M":true') -> str:
    sent = T0 // MS + ms
    return at(
        ms,
        f'{{"stream":"{market.lower()}@aggTrade","data":{{"e":"aggTrade","E":{sent},"s":"{market}","a":{number},"p":"100.5",'
        f'"q":"0.25","f":{number},"l":{number + 1},"T":{sent - 2},"m":true{more}}}}}',
    )


@pytest.mark.parametrize(("more", "venue"), [(',"M":true', "BINANCE"), ("", "BINANCE_USDM")])
def test_aggregate_trades_are_trades_where_there_are_no_others(tmp_path: Path, more: str, venue: str) -> None:
    (found,) = capture(tmp_path, aggregate(5, 42, more=more))
    assert found == Trade(
        symbol="BTCUSDT", venue=venue, seq=42, ts_event=T0 + 3 * MS, ts_ingest=0, price=100.5, size=0.25, side="sell",
        trade_id="42",
    )  # fmt: skip


def test_no_trade_is_counted_in_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [aggregate(0, 42), trade(1, 7), aggregate(2, 43), trade(3, 8)]
    assert [each.seq for each in only(Trade, capture(tmp_path, *both))] == [7, 8]
    monkeypatch.setattr("streams.recordings.binance.HEAD", 1)
    items = capture(tmp_path, *both)
    assert [each.seq for each in only(Trade, items)] == [42, 43]
    assert {each.detail for each in only(DeadLetter, items)} == {
        "no use for stream 'btcusdt@trade': the trades of this symbol come from aggTrade"
    }


@pytest.mark.parametrize("cut", [1, 1_000, 1_000_000])
def test_receive_times_may_be_in_milliseconds_microseconds_or_nanoseconds(tmp_path: Path, cut: int) -> None:
    lines = [
        f"{int(line.partition(' ')[0]) // cut} {line.partition(' ')[2]}"
        for line in (depth(0, 1, 4), ticker(30, 5), depth(100, 5, 6))
    ]
    recording = open_recording(plain(tmp_path / "capture.raw", *lines))
    (quote,) = only(Quote, read(recording))
    assert quote.ts_event == T0 + 1_300 * MS


def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only two lines are the head."""
    monkeypatch.setattr("streams.recordings.binance.HEAD", 2)


def test_tickers_that_begin_behind_the_head_are_taken_where_no_book_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(monkeypatch)
    recording = BinanceCapture(LineFile(gzipped(tmp_path / "late.raw.gz", trade(0), depth(10, 1, 4), ticker(30, 5),
                                                depth(50, 5, 6), snapshot(60, 6), ticker(70, 7), depth(90, 7, 8))))  # fmt: skip
    for _ in range(2):
        items = read(recording)
        assert [quote.seq for quote in only(Quote, items)] == [5, 7], "none of them from the book"
        assert not only(DeadLetter, items)


def test_tickers_that_begin_where_the_book_gives_the_quotes_are_one_dead_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(monkeypatch)
    items = capture(
        tmp_path, depth(0, 1, 4), snapshot(10, 4), ticker(30, 5), ticker(40, 6), depth(50, 5, 6, '["100.5","2"]')
    )
    (letter,) = only(DeadLetter, items)
    assert (letter.offset, letter.reason) == (3, "unknown_type")
    assert "no use for stream 'btcusdt@bookTicker' from here on" in letter.detail
    assert [quote.seq for quote in only(Quote, items)] == [4, 6]


def test_the_wire_structs_read_numbers_given_as_text() -> None:
    line = msgspec.json.decode(ticker(0, 5).partition(" ")[2])
    assert TICKER.decode(msgspec.json.encode(line["data"])).bid == 100.0
