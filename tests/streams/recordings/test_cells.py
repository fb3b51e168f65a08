"""Cells of a table: sides, times and numbers as files write them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Trade
from schemas.rows import DeadLetter
from streams.recordings.cells import clock_of, number, utc_of_wall
from tests.streams.recordings.files import only, plain
from tests.streams.recordings.test_columns import T0_MS, played

SIDED = "kind=trade,ts=time,price=px,side=side,symbol_name=A,venue=X,ts_unit=ms"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param(
            "", {"buy": "buy", " Sell ": "sell", "B": "buy", "A": "sell", "-1": "sell", "": "unknown"}, id="ours"
        ),
        pytest.param(
            ",side_buy=False,side_sell=true", {"false": "buy", "True": "sell", "": "unknown"}, id="buyer is maker"
        ),
        pytest.param(",side_buy=1,side_sell=-1", {"1": "buy", "-1": "sell", "0": "unknown"}, id="tick rule"),
    ],
)
def test_sides_are_read_as_the_file_calls_them(tmp_path: Path, more: str, words: dict[str, str]) -> None:
    path = plain(tmp_path / "t.csv", "time,px,side", *(f"{T0_MS},1,{word}" for word in words))
    assert [each.side for each in only(Trade, played(path, SIDED + more))] == list(words.values())


@pytest.mark.parametrize("word", ["ask", "True", "0", "x"])
def test_a_word_that_may_mean_either_side_is_not_taken_for_none(tmp_path: Path, word: str) -> None:
    path = plain(tmp_path / "t.csv", "time,px,side", f"{T0_MS},1,buy", f"{T0_MS},1,{word}")
    (bad,) = only(DeadLetter, played(path, SIDED))
    assert bad.detail.startswith(
        f"expected a side, buy or b or 1 or +1 or sell or s or a or -1, found '{word.lower()}'"
    )


@pytest.mark.parametrize(
    "text",
    ["20130924 04:53:20.5", "2013-09-24 04:53:20.5+00", "2013-09-24 04:53:20.500 UTC", "2013-09-24T00:53:20.5-04"],
)
def test_times_as_postgres_and_truefx_write_them(text: str) -> None:
    assert clock_of("iso", "UTC")(text) == 1_379_998_400_500_000_000


@pytest.mark.parametrize(
    ("text", "tz", "expected"),
    [
        ("2013-01-01 22:00:00.295000+00:00", "UTC", "2013-01-01T22:00:00.295+00:00"),
        ("2013-01-01T22:00:00Z", "UTC", "2013-01-01T22:00:00+00:00"),
        ("2013-01-01 22:00:00+0530", "UTC", "2013-01-01T16:30:00+00:00"),
        ("2013-10-07 09:30", "America/New_York", "2013-10-07T13:30:00+00:00"),
        ("2013-12-07 09:30:01", "America/New_York", "2013-12-07T14:30:01+00:00"),
        ("2013-12-07", "UTC", "2013-12-07T00:00:00+00:00"),
        ("2013-12-07 09:30:00", "UTC+2", "2013-12-07T07:30:00+00:00"),
    ],
)
def test_iso_times_with_and_without_an_offset(text: str, tz: str, expected: str) -> None:
    assert clock_of("iso", tz)(text) == round(datetime.fromisoformat(expected).timestamp() * 1_000) * 1_000_000


def test_nanoseconds_are_kept() -> None:
    assert clock_of("iso", "UTC")("1970-01-01T00:00:01.123456789Z") == 1_123_456_789
    assert clock_of("s", "UTC")("1375000000.123456789") == 1_375_000_000_123_456_789
    assert clock_of("ms", "UTC")("1.5") == 1_500_000


@pytest.mark.parametrize("text", ["", "now", "2013-13-01", "2013-01-01 25:00", "2013-01-01 00:00:61", "01/02/2013"])
def test_a_text_that_is_no_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        clock_of("iso", "UTC")(text)


@pytest.mark.parametrize("cell", ["1_000", "", "abc", None, True, "1,5", float("nan")])
def test_a_cell_that_is_no_number_is_an_error(cell: Any) -> None:
    with pytest.raises(ValueError, match="expected a"):
        number(cell)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)), st.sampled_from(["UTC", "America/New_York", "UTC-5"]))
def test_a_wall_time_as_text_and_as_a_number_are_the_same_moment(wall: datetime, tz: str) -> None:
    as_number = (wall.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution) * 1_000
    assert utc_of_wall(tz)(as_number) == clock_of("iso", tz)(wall.isoformat(" "))
