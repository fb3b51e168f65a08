"""Recordings folded without a broker: the same labels, features and order as the shard gives to anyone."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from infra.composition import ShardMaker
from processors.batch import NS
from processors.features import FEATURE_NAMES
from processors.sessions import Calendar, Sessions
from processors.shard import FoldRules
from schemas.errors import InputError
from streams.recorded import Recorded, fold_recordings, regular_hours
from streams.recordings.detect import open_recording
from streams.recordings.recording import Recording
from tests.streams.recordings.files import plain

OPEN_MS = 34_200_000
HOUR_NS = 3_600 * NS
MIDNIGHTS = np.array([1_381_118_400, 1_381_204_800, 1_381_291_200]) * NS
"""In New York, of 7 to 9 October 2013."""
CALENDARS = Sessions(
    {"XNYS": Calendar(MIDNIGHTS, MIDNIGHTS + 19 * HOUR_NS // 2, MIDNIGHTS + 16 * HOUR_NS)}, {"USA": "XNYS"}
)


def day(folder: Path, symbol: str, *, seconds: int = 120, start_ms: int = OPEN_MS, number: int = 7) -> list[Recording]:
    """A quote and a trade a second; the bid rises or falls by a cent with the parity of the half minute."""
    quotes, trades, bid = [], [], 1_000_000
    for second in range(seconds):
        bid += 100 if second // 30 % 2 == 0 else -100
        at = start_ms + 1_000 * second
        quotes += [f"{at},{bid},300,0,0,Q,1,0", f"{at + 1},0,0,{bid + 100},200,Q,1,0"]
        trades.append(f"{at + 500},{bid},100,Q,1,0")
    name = f"lean_usa_tick_{symbol}_2013100{number}"
    return [
        open_recording(plain(folder / f"{name}_quote.csv", *quotes)),
        open_recording(plain(folder / f"{name}_trade.csv", *trades)),
    ]


def folded(recordings: list[Recording], calendars: Sessions = CALENDARS) -> Recorded:
    return fold_recordings(recordings, ShardMaker(FoldRules(), calendars, None)(0), lambda *_: None)


def test_labels_and_returns_are_those_of_the_mid_ten_seconds_later(tmp_path: Path) -> None:
    found = folded(day(tmp_path, "ibm")).dataset
    assert found.symbols == ("IBM",)
    assert tuple(found.names) == FEATURE_NAMES
    assert found.horizon_ns == 10 * NS
    bids = 1_000_000 + 100 * np.cumsum([1 if second // 30 % 2 == 0 else -1 for second in range(120)])
    opened = 1_381_152_600 * NS
    checked = 0
    for ts, label, gone in zip(found.ts.tolist(), found.label.tolist(), found.returns.tolist(), strict=True):
        second = (ts - opened) // NS
        if (ts - opened) % NS == 0 and second > 0:  # on the bid's row the ask is still the old one
            continue
        mid, later = bids[second] + 50, bids[second + 10] + 50
        assert gone == pytest.approx(np.log(later / mid), abs=2e-4)
        assert label == (0.5 if later == mid else float(later > mid))
        checked += 1
    assert len(found) > 90
    assert checked > 0


def test_two_symbols_are_sorted_by_time_and_each_equals_its_fold_alone(tmp_path: Path) -> None:
    both = folded([*day(tmp_path, "ibm"), *day(tmp_path, "bac", start_ms=OPEN_MS + 250)]).dataset
    assert (np.diff(both.ts) >= 0).all()
    for number, symbol in enumerate(both.symbols):
        start_ms = OPEN_MS if symbol == "IBM" else OPEN_MS + 250
        alone = folded(day(tmp_path / "alone", symbol.lower(), start_ms=start_ms)).dataset
        mine = both.taken(both.symbol == number)
        assert mine.ts.tolist() == alone.ts.tolist()
        assert mine.label.tolist() == alone.label.tolist()
        assert np.array_equal(mine.features, alone.features, equal_nan=True)


def test_a_row_that_cannot_be_read_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    clean = folded(day(tmp_path, "ibm"))
    path = tmp_path / "lean_usa_tick_ibm_20131007_trade.csv"
    broken = plain(
        tmp_path / "b" / path.name, *path.read_text().splitlines()[:60], "x,y", *path.read_text().splitlines()[60:]
    )
    found = folded([open_recording(tmp_path / "lean_usa_tick_ibm_20131007_quote.csv"), open_recording(broken)])
    assert (clean.unread, found.unread) == (0, 1)
    assert found.doors == clean.doors
    assert found.doors["folded"] == 3 * 120 - 1  # the first row tells the bid alone, which is no quote yet
    assert found.dataset.label.tolist() == clean.dataset.label.tolist()


def test_only_predictions_that_came_true_within_regular_hours_are_kept(tmp_path: Path) -> None:
    close_ms = 57_600_000
    recordings = [
        *day(tmp_path / "before", "ibm", start_ms=OPEN_MS - 60_000),
        *day(tmp_path / "after", "ibm", start_ms=close_ms - 60_000, number=8),
    ]
    every = folded(recordings).dataset
    kept = regular_hours(every, CALENDARS, "USA")
    opened, closed = 1_381_152_600 * NS, 1_381_262_400 * NS
    expected = [
        ts
        for ts in every.ts.tolist()
        if opened <= ts < opened + 3_600 * NS or closed - 3_600 * NS < ts <= closed - 10 * NS
    ]
    assert kept.ts.tolist() == expected
    assert 0 < len(kept) < len(every)
    assert date.fromtimestamp(int(kept.ts[0]) // NS) == date(2013, 10, 7)


def test_recordings_shorter_than_the_horizon_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shorter than the horizon"):
        folded(day(tmp_path, "ibm", seconds=8))
