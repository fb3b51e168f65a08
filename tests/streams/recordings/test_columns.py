"""Any table by a declared map of its columns."""

import csv
import gzip
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import InputError
from schemas.events import Quote, Trade
from schemas.rows import DeadLetter
from schemas.topics import EVENTS
from streams.recordings.column_map import ColumnMap, column_map
from streams.recordings.columns import MappedCsv
from streams.recordings.detect import open_recording
from streams.recordings.recording import Recorded
from tests.streams.recordings.files import SHARED, gzipped, needs_recordings, only, plain, read

TRADES = "kind=trade,ts=time,price=px,size=qty,symbol=sym,venue=X,ts_unit=ms,tz=UTC"
QUOTES = "kind=quote,ts=time,bid=b,bid_size=bs,ask=a,ask_size=as,symbol_name=EURUSD,venue_column=v"
T0_MS = 1_380_000_000_000


def played(path: Path, text: str) -> list[Recorded]:
    return read(open_recording(path, columns=column_map(text)))


def table(tmp_path: Path, columns: dict[str, Any]) -> Path:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_trades_by_column_names(tmp_path: Path) -> None:
    path = plain(tmp_path / "t.csv", "sym,qty,px,time,extra", f"ABC,3,10.5,{T0_MS},x", f"DEF,1,2,{T0_MS + 1},y")
    assert played(path, TRADES) == [
        Trade(symbol="ABC", venue="X", seq=T0_MS * 10**6, ts_event=T0_MS * 10**6, ts_ingest=0, price=10.5, size=3.0),
        Trade(
            symbol="DEF", venue="X", seq=(T0_MS + 1) * 10**6, ts_event=(T0_MS + 1) * 10**6, ts_ingest=0, price=2.0,
            size=1.0,
        ),
    ]  # fmt: skip


def test_quotes_with_quoted_cells_and_a_venue_column(tmp_path: Path) -> None:
    path = gzipped(
        tmp_path / "q.csv.gz", '"time","b","bs","a","as","v"', '"2013-01-01T00:00:00.5Z","1.1","5","1.2","6","V1"'
    )
    assert played(path, QUOTES) == [
        Quote(
            symbol="EURUSD", venue="V1", seq=1_356_998_400_500_000_000, ts_event=1_356_998_400_500_000_000, ts_ingest=0,
            bid=1.1, bid_size=5.0, ask=1.2, ask_size=6.0,
        )
    ]  # fmt: skip


def test_without_a_header_columns_are_numbers(tmp_path: Path) -> None:
    path = plain(tmp_path / "t.txt", "1380000000;10.5;sell", "1380000001;11;b")
    found = played(
        path, "kind=trade,header=false,delimiter=semicolon,ts=1,ts_unit=s,price=2,side=3,symbol_name=A,venue=X"
    )
    assert [(trade.price, trade.size, trade.side) for trade in only(Trade, found)] == [
        (10.5, 1.0, "sell"),
        (11.0, 1.0, "buy"),
    ]


def test_a_map_may_be_a_toml_file(tmp_path: Path) -> None:
    path = plain(
        tmp_path / "map.toml", 'kind = "trade"', 'ts = "time"', 'price = "px"', 'symbol_name = "A"', 'venue = "X"'
    )
    assert column_map(str(path)) == ColumnMap(kind="trade", ts="time", price="px", symbol_name="A", venue="X")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind=trade,ts=t,prise=p,symbol=s,venue=X", "'prise' is no key of it; did you mean price?"),
        ("kind=trade,ts=t,symbol=s,venue=X", "a map of trades needs price"),
        ("kind=quote,ts=t,symbol=s,venue=X", "a map of quotes needs bid and ask"),
        ("kind=bar,ts=t,price=p,symbol=s,venue=X", "Invalid enum value 'bar'"),
        ("kind=trade,ts=t,price=p,symbol=s,symbol_name=A,venue=X", "give one of symbol"),
        ("kind=trade,ts=t,price=p,symbol=s", "give one of venue"),
        ("kind=trade,ts=t,price=p,symbol=s,venue=X,tz=Mars/Olympus", "expected a time zone such as"),
        ("kind=trade,ts=t,price=p,symbol=s,venue=X,ts_unit=weeks", "Invalid enum value 'weeks'"),
        ("kind=trade,header=no,ts=t,price=p,symbol=s,venue=X", "Expected `bool`"),
        ("kind=trade,header=false,ts=t,price=2,symbol_name=s,venue=X", "columns are numbers from 1, found 't'"),
        ("kind=trade,ts", "expected key=value, found 'ts'"),
        (
            "kind=trade,ts=t,price=p,symbol=s,venue=X,side=d,side_buy=x",
            "side_buy and side_sell go together, and with side",
        ),
        (
            "ts=t,price=p,symbol=s,venue=X",
            "lacks kind; expected at least kind=trade,ts=COLUMN,price=COLUMN or kind=quote",
        ),
        ("price=p", "lacks kind and ts; expected"),
        ("missing.toml", "missing.toml: expected a column map in TOML"),
    ],
)
def test_a_map_from_which_no_event_can_be_made_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        column_map(text)


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (f"A,1,10,{T0_MS}", "invalid_value", "expected 5 columns, found 4"),
        (f"A,1,ten,{T0_MS},", "invalid_value", "expected a number, found 'ten'"),
        (f"A,1,nan,{T0_MS},", "invalid_value", "expected a finite number"),
        (f"A,1,inf,{T0_MS},", "invalid_value", "expected a finite number"),
        (f"A,1,0,{T0_MS},", "invalid_value", "expected a price above 0, found 0.0"),
        (f"A,1,-5,{T0_MS},", "invalid_value", "expected a price above 0"),
        (f"A,0,5,{T0_MS},", "invalid_value", "expected a size above 0"),
        (f",1,5,{T0_MS},", "invalid_value", "expected a name of 1 to 32 characters"),
        ("A,1,5,yesterday,", "invalid_value", "expected a number of time units since 1970, found 'yesterday'"),
        ("A,1,5,1e30,", "invalid_value", "expected a number of time units"),
        ("A,1,5,99999999999999,", "invalid_value", "expected a time from 1970 to 2100"),
        ("A,1,5,-5,", "invalid_value", "expected a time from 1970 to 2100"),
    ],
)
def test_a_bad_row_is_a_dead_letter_and_the_rest_goes_on(tmp_path: Path, row: str, reason: str, detail: str) -> None:
    good = f"A,1,10,{T0_MS},"
    items = played(plain(tmp_path / "t.csv", "sym,qty,px,time,extra", good, row, good), TRADES)
    assert [type(item) for item in items] == [Trade, DeadLetter, Trade]
    bad = only(DeadLetter, items)[0]
    assert (bad.source, bad.offset, bad.reason, bad.raw) == (f"{tmp_path.name}/t.csv", 3, reason, row.encode())
    assert detail in bad.detail


@pytest.mark.parametrize(
    ("stamp", "unit"),
    [(f"{T0_MS}", "us"), (f"{T0_MS}", "ns"), (f"{T0_MS // 1_000}", "ms"), (f"{T0_MS}.5", "us"), ("0", "s")],
)
def test_a_stamp_of_another_unit_is_not_played_in_1970(tmp_path: Path, stamp: str, unit: str) -> None:
    path = plain(tmp_path / "t.csv", "sym,qty,px,time", f"A,1,5,{stamp}")
    with pytest.raises(
        InputError, match=rf"t.csv:2: .*time: expected a time from 1990 on.* ts_unit={unit} .* 1970-01-"
    ):
        played(path, TRADES.replace("ts_unit=ms", f"ts_unit={unit}"))


def test_the_first_stamp_that_is_taken_is_the_first_of_1990(tmp_path: Path) -> None:
    first = 631_152_000_000
    good, bad = played(plain(tmp_path / "t.csv", "sym,qty,px,time", f"A,1,5,{first}", f"A,1,5,{first - 1}"), TRADES)
    assert isinstance(good, Trade)
    assert good.ts_event == first * 10**6
    assert isinstance(bad, DeadLetter)
    assert bad.reason == "invalid_value"


def test_iso_times_before_1990_are_what_they_say(tmp_path: Path) -> None:
    path = plain(tmp_path / "t.csv", "time,px", "1987-10-19 14:30:00,282.7")
    (trade,) = played(path, "kind=trade,ts=time,price=px,symbol_name=A,venue=X")
    assert isinstance(trade, Trade)
    assert trade.ts_event == round(datetime(1987, 10, 19, 14, 30, tzinfo=UTC).timestamp()) * 10**9


def test_a_row_that_is_not_utf8_is_a_dead_letter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"sym,qty,px,time\nA,1,5,{T0_MS}\n\xff\xfe,1,5,{T0_MS}\n".encode("latin-1"))
    bad = only(DeadLetter, played(path, TRADES))[0]
    assert (bad.offset, bad.reason) == (3, "undecodable")


@pytest.mark.parametrize("header", ["sym,qty,price,time", "a", "\x00\x01"])
def test_a_header_without_a_declared_column_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match=r"t.csv:1: expected column '\w+' for \w+, found"):
        played(plain(tmp_path / "t.csv", header, f"A,1,5,{T0_MS}"), TRADES)


def test_a_table_of_bad_rows_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t.csv:2: none of the first rows can be read: expected a number, found 'p'"):
        played(plain(tmp_path / "t.csv", "sym,qty,px,time", *[f"A,1,p,{T0_MS}"] * 200), TRADES)


def test_rows_of_one_symbol_with_one_stamp_get_rising_numbers_that_another_file_does_not_repeat(tmp_path: Path) -> None:
    rows = [f"{symbol},1,5,{T0_MS + ms}" for ms in (0, 0, 0, 1) for symbol in ("A", "B")]
    found = only(Trade, played(plain(tmp_path / "t.csv", "sym,qty,px,time", *rows), TRADES))
    assert [trade.seq - T0_MS * 10**6 for trade in found if trade.symbol == "A"] == [0, 1, 2, 1_000_000]
    later = only(Trade, played(plain(tmp_path / "u.csv", "sym,qty,px,time", f"A,1,5,{T0_MS + 2}"), TRADES))
    assert later[0].seq > found[-1].seq


def test_numbers_of_the_file_are_kept_where_it_has_them(tmp_path: Path) -> None:
    path = plain(tmp_path / "t.csv", "sym,qty,px,time,no,id", f"A,1,5,{T0_MS},77,x-77")
    (trade,) = only(Trade, played(path, TRADES + ",seq=no,trade_id=id"))
    assert (trade.seq, trade.trade_id) == (77, "x-77")


class TestParquet:
    def test_bytes_and_nulls_are_text_and_nothing(self, tmp_path: Path) -> None:
        path = table(
            tmp_path,
            {
                "sym": pa.array([b"SPY", b"\xff", b"SPY"], pa.binary()), "px": [1.0, 2.0, 3.0], "time": [T0_MS] * 3,
                "qty": [1, 1, 1], "id": ["x", "y", None], "side": [1.0, 1.0, -1.0], "no": [1.0, 2.0, 3.0],
            },
        )  # fmt: skip
        first, bad, last = played(path, TRADES + ",trade_id=id,side=side,seq=no")
        assert isinstance(first, Trade)
        assert isinstance(last, Trade)
        assert isinstance(bad, DeadLetter)
        assert (first.symbol, first.trade_id, first.side, first.seq) == ("SPY", "x", "buy", 1)
        assert (last.symbol, last.trade_id, last.side, last.seq) == ("SPY", "", "sell", 3)
        assert "can't decode byte 0xff" in bad.detail

    @pytest.mark.parametrize("tz", [None, "UTC"])
    def test_a_stamp_beyond_what_ns_can_hold_is_one_bad_row(self, tmp_path: Path, tz: str | None) -> None:
        stamps = [T0_MS * 1_000, 253_370_764_800_000_000, 2**62, T0_MS * 1_000 + 1]
        columns = {
            "time": pa.array(stamps, pa.timestamp("us", tz=tz)),
            "px": [1.0] * 4,
            "qty": [1] * 4,
            "sym": ["A"] * 4,
        }
        found = played(table(tmp_path, columns), TRADES)
        assert [type(each) for each in found] == [Trade, DeadLetter, DeadLetter, Trade]
        assert [each.ts_event // 1_000 for each in only(Trade, found)] == [stamps[0], stamps[-1]]

    def test_rows_are_the_same_as_those_of_the_csv(self, tmp_path: Path) -> None:
        rows = [("A", 1.5 + i, 100 + i, T0_MS + i) for i in range(20_000)]
        names = ("sym", "px", "qty", "time")
        path = table(tmp_path, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
        text = plain(tmp_path / "t.csv", ",".join(names), *(",".join(map(str, row)) for row in rows))
        assert played(path, TRADES) == played(text, TRADES)

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize(("tz", "hours"), [("UTC", 0), ("America/New_York", 4), ("UTC-5", 5)])
    def test_stamps_are_read_as_what_they_are(self, tmp_path: Path, unit: str, tz: str, hours: int) -> None:
        wall = pa.array([datetime(2013, 10, 7, 9, 30)], pa.timestamp(unit))
        aware = pa.array([datetime(2013, 10, 7, 9, 30, tzinfo=UTC)], pa.timestamp(unit, tz="Europe/Berlin"))
        path = table(tmp_path, {"px": [1.0], "wall": wall, "aware": aware})
        half_past_nine = 1_381_138_200 * 10**9
        for column, expected in (("wall", half_past_nine + hours * 3_600 * 10**9), ("aware", half_past_nine)):
            (trade,) = only(Trade, played(path, f"kind=trade,ts={column},price=px,symbol_name=A,venue=X,tz={tz}"))
            assert trade.ts_event == expected

    def test_a_count_of_another_unit_is_a_dead_letter_and_a_typed_time_is_not(self, tmp_path: Path) -> None:
        old = pa.array([datetime(1987, 10, 19)] * 2, pa.timestamp("us"))
        path = table(tmp_path, {"px": [1.0, 1.0], "count": [T0_MS * 1_000, T0_MS], "typed": old})
        mapping = "kind=trade,price=px,symbol_name=A,venue=X,ts_unit=us"
        assert [type(item) for item in played(path, mapping + ",ts=count")] == [Trade, DeadLetter]
        assert [type(item) for item in played(path, mapping + ",ts=typed")] == [Trade, Trade]

    def test_a_bad_row_is_a_dead_letter_with_its_values(self, tmp_path: Path) -> None:
        path = table(tmp_path, {"sym": ["A", "A"], "px": [1.0, None], "qty": [1, 1], "time": [T0_MS, T0_MS]})
        good, bad = played(path, TRADES)
        assert isinstance(good, Trade)
        assert isinstance(bad, DeadLetter)
        assert (bad.offset, bad.raw) == (2, f'{{"ts":{T0_MS},"symbol":"A","price":null,"size":1}}'.encode())

    def test_without_a_map_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="a Parquet file needs a column map"):
            open_recording(table(tmp_path, {"px": [1.0]}))

    def test_a_missing_column_and_a_damaged_file_are_refused(self, tmp_path: Path) -> None:
        path = table(tmp_path, {"px": [1.0]})
        with pytest.raises(InputError, match="expected column 'time' for ts, found px"):
            played(path, TRADES)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match="expected Parquet, found a damaged file"):
            played(path, TRADES)


class TestRealTables:
    pytestmark = needs_recordings

    def test_truefx_quotes(self) -> None:
        path = SHARED / "quotes" / "truefx_usdjpy_201301.csv.gz"
        found = played(path, "kind=quote,ts=timestamp,bid=bid,ask=ask,symbol_name=USDJPY,venue=TRUEFX")
        with gzip.open(path, "rt") as lines:
            rows = list(csv.DictReader(lines))
        assert len(found) == len(rows) == 1_000
        for item, row in zip(found, rows, strict=True):
            assert isinstance(item, Quote)
            assert (item.bid, item.ask) == (float(row["bid"]), float(row["ask"]))
            moment = datetime.fromisoformat(row["timestamp"]) - datetime(1970, 1, 1, tzinfo=UTC)
            assert item.ts_event == moment // datetime.resolution * 1_000
            assert EVENTS.decode(EVENTS.encode(item)) == item
        assert all(a.seq < b.seq for a, b in itertools.pairwise(only(Quote, found)))

    @pytest.mark.parametrize("side", ["bid", "ask"])
    def test_fxcm_minute_closes_as_trades(self, side: str) -> None:
        path = SHARED / "bars" / f"fxcm_gbpusd_m1_{side}_2012.csv.gz"
        mapping = column_map("kind=trade,ts=timestamp,price=close,symbol_name=GBPUSD,venue=FXCM")
        found = only(Trade, read(open_recording(path, columns=mapping)))
        with gzip.open(path, "rt") as lines:
            closes = [float(row["close"]) for row in csv.DictReader(lines)]
        assert [trade.price for trade in found] == closes
        assert isinstance(open_recording(path, columns=mapping), MappedCsv)
