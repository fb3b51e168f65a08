"""Recordings onto the log: the same events at every speed, at the recorded gaps, with honest counts."""

import gzip
import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.errors import DeliveryError, InputError
from schemas.events import Event, Heartbeat, Quote, Trade
from streams.play import BATCH, Played, PlayOptions, Progress, play
from streams.recordings.column_map import column_map
from streams.recordings.labels import Labels
from tests.streams.recordings.files import SHARED, gzipped, needs_recordings, plain
from tests.streams.writers import ListWriter, StepClock

NS = 1_000_000_000
NOW = 1_800_000_000 * NS
TRADES = "lean_usa_tick_spy_20131007_trade.csv.gz"
OPEN_MS = 34_200_000


def spy(tmp_path: Path, *at_ms: int, name: str = TRADES) -> Path:
    """SPY trades at these milliseconds after the open."""
    return gzipped(tmp_path / name, *(f"{OPEN_MS + ms},1674100,{100 + row},Q,1,0" for row, ms in enumerate(at_ms)))


def played(
    paths: Sequence[Path], options: PlayOptions | None = None, clock: StepClock | None = None
) -> tuple[ListWriter, Played]:
    writer = ListWriter()
    return writer, play(paths, writer, clock or StepClock(NOW), options)


def unstamped(events: Sequence[Event]) -> list[Event]:
    return [replace(event, ts_ingest=0) for event in events]


def market(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Heartbeat)]


def test_events_go_to_the_log_in_order_stamped_with_the_time_of_writing(tmp_path: Path) -> None:
    writer, result = played([spy(tmp_path, 100, 300, 1_600)])
    assert [type(event) for event in writer.events] == [Trade, Trade, Heartbeat, Trade, Heartbeat]
    assert {event.ts_ingest for event in writer.events} == {NOW}
    assert writer.flushes == 1
    assert result.events == {"trade": 3, "quote": 0, "heartbeat": 2}
    assert result.last_ns is not None
    assert result.first_ns is not None
    assert result.last_ns - result.first_ns == 1_500_000_000
    assert (result.dead_letters, result.laps) == (0, 1)


def test_nobody_waits_at_full_speed(tmp_path: Path) -> None:
    clock = StepClock(NOW)
    played([spy(tmp_path, 0, 60_000)], clock=clock)
    assert clock.slept == []


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_recorded_gaps_are_kept_or_shortened_by_the_speed(tmp_path: Path, speed: float) -> None:
    writer, _ = played([spy(tmp_path, 0, 200, 1_500, 61_500)], PlayOptions(speed=speed))
    stamps = [event.ts_ingest for event in writer.events if isinstance(event, Trade)]
    assert [round((stamp - stamps[0]) * speed / 1e6) for stamp in stamps] == pytest.approx(
        [0, 200, 1_500, 61_500], abs=20
    )
    beats = [event for event in writer.events if isinstance(event, Heartbeat)]
    assert [round((beat.ts_ingest - stamps[0]) * speed / NS, 1) for beat in beats] == list(range(63))


def test_what_is_due_at_once_is_written_in_one_batch(tmp_path: Path) -> None:
    writer, _ = played([spy(tmp_path, 0, 0, 0, 0, 500, 500)], PlayOptions(speed=1))
    assert [len(batch) for batch in writer.batches] == [5, 2, 1]  # with a heartbeat each second


def test_at_full_speed_a_batch_is_full_and_no_larger(tmp_path: Path) -> None:
    writer, _ = played([spy(tmp_path, *[0] * (BATCH * 2 + 10))])
    assert [len(batch) for batch in writer.batches] == [BATCH, BATCH, 11]


def test_a_log_that_is_slow_is_caught_up_with_without_waiting(tmp_path: Path) -> None:
    clock = StepClock(NOW)

    class Slow(ListWriter):
        def write(self, events: Sequence[Event]) -> None:
            super().write(events)
            if len(self.batches) == 1:
                clock.ns += 5 * NS

    writer = Slow()
    play([spy(tmp_path, 0, 1_000, 2_000, 3_000, 10_000)], writer, clock, PlayOptions(speed=1))
    last = [event for event in writer.events if isinstance(event, Trade)][-1]
    assert last.ts_ingest - NOW == pytest.approx(10 * NS, abs=10_000_000)


def test_it_ends_between_batches_when_told_to_and_says_what_it_has_written(tmp_path: Path) -> None:
    writer = ListWriter()
    result = play(
        [spy(tmp_path, *[0] * (BATCH * 5))], writer, StepClock(NOW), stop=lambda: len(writer.batches) == 2
    )  # fmt: skip
    assert [len(batch) for batch in writer.batches] == [BATCH, BATCH]
    assert result.events["trade"] == 2 * BATCH
    assert writer.flushes == 1


def test_it_ends_soon_also_where_it_waits_for_the_next_event(tmp_path: Path) -> None:
    clock, writer = StepClock(NOW), ListWriter()
    result = play(
        [spy(tmp_path, 0, 900_000)], writer, clock, PlayOptions(speed=0.001), stop=lambda: clock.ns > NOW + 2 * NS
    )  # fmt: skip
    assert clock.ns <= NOW + 4 * NS
    assert result.events["trade"] == 1
    assert writer.flushes == 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 9_000), min_size=1, max_size=40), st.lists(st.integers(0, 9_000), max_size=20),
    st.sampled_from([0.5, 1.0, 10.0, 1_000.0]), st.booleans(),
)  # fmt: skip
def test_the_log_has_the_same_content_in_the_same_order_at_every_speed(
    tmp_path: Path, first: list[int], second: list[int], speed: float, night: bool
) -> None:
    """A night between both files, or both at once."""
    paths = [spy(tmp_path, *sorted(first))]
    if second:
        day = "20131008" if night else "20131007"
        symbol = "spy" if night else "ibm"
        paths.append(spy(tmp_path, *sorted(second), name=f"lean_usa_tick_{symbol}_{day}_trade.csv.gz"))
    fast, fast_result = played(paths)
    slow, slow_result = played(paths, PlayOptions(speed=speed))
    assert unstamped(slow.events) == unstamped(fast.events)
    assert slow_result == fast_result


def test_a_night_is_waited_for_as_an_hour(tmp_path: Path) -> None:
    paths = [spy(tmp_path, 0), spy(tmp_path, 0, name="lean_usa_tick_spy_20131008_trade.csv.gz")]
    clock = StepClock(NOW)
    writer, _ = played(paths, PlayOptions(speed=1, tail_s=0), clock)
    assert clock.ns - NOW == pytest.approx(3_601 * NS, rel=1e-3)
    assert len(market(writer.events)) == 2


def test_bad_rows_become_dead_letters_and_are_counted(tmp_path: Path) -> None:
    good = f"{OPEN_MS},1674100,100,Q,1,0"
    path = gzipped(tmp_path / TRADES, good, "34200000,abc,100,Q,1,0", good, f"{OPEN_MS},1674100,0,Q,1,0")
    writer, result = played([path])
    assert [(letter.offset, letter.reason, letter.ts_ingest) for letter in writer.letters] == [
        (2, "undecodable", NOW), (4, "invalid_value", NOW),
    ]  # fmt: skip
    assert (result.events["trade"], result.dead_letters) == (2, 2)


def test_only_wanted_symbols_are_played(tmp_path: Path) -> None:
    paths = [spy(tmp_path, 0), spy(tmp_path, 0, 5, name="lean_usa_tick_ibm_20131007_trade.csv.gz")]
    writer, _ = played(paths, PlayOptions(symbols=frozenset({"ibm"})))
    assert {event.symbol for event in writer.events if isinstance(event, Trade)} == {"IBM"}
    with pytest.raises(InputError, match="none of IMB is in the recordings; they hold IBM, SPY"):
        played(paths, PlayOptions(symbols=frozenset({"spy", "imb"})))
    with pytest.raises(InputError, match="none of QQQ is in the recordings; they hold IBM, SPY"):
        played(paths, PlayOptions(symbols=frozenset({"QQQ"})))


def test_a_limit_stops_after_so_many_trades_and_quotes_and_gives_the_head_of_the_whole(tmp_path: Path) -> None:
    path = spy(tmp_path, 0, 500, 1_500, 2_500, 3_500)
    whole, _ = played([path])
    short, result = played([path], PlayOptions(limit=3))
    assert result.events["trade"] == 3
    assert unstamped(short.events) == unstamped(whole.events)[: len(short.events)]


def test_a_loop_goes_on_weeks_later_until_it_reaches_the_present(tmp_path: Path) -> None:
    path = spy(tmp_path, 0, 500, 90_000)
    week = 7 * 86_400 * NS
    writer, once = played([path])
    assert once.last_ns is not None
    clock = StepClock(once.last_ns + 3 * week + NS)
    writer, result = played([path], PlayOptions(loop=True), clock)
    assert (result.laps, result.events["trade"]) == (4, 12)
    events = market(writer.events)
    identities = [(type(event), event.venue, event.symbol, event.seq) for event in events if isinstance(event, Trade)]
    assert len(set(identities)) == len(identities)
    times = [event.ts_event for event in writer.events]
    assert times == sorted(times)
    assert times[-1] < clock.now_ns() + NS
    beats = [event.seq for event in writer.events if isinstance(event, Heartbeat)]
    assert all(a < b for a, b in itertools.pairwise(beats))


def test_a_loop_over_nothing_ends(tmp_path: Path) -> None:
    path = plain(tmp_path / "t.csv", "time,px,sym", "1380000000,1,A")
    mapping = column_map("kind=trade,ts=time,ts_unit=s,price=px,symbol=sym,venue=X")
    _, result = played([path], PlayOptions(loop=True, symbols=frozenset({"B"}), columns=mapping))
    assert result == Played({"trade": 0, "quote": 0, "heartbeat": 0}, 0, None, None, 1)


def test_progress_rises_to_the_whole(tmp_path: Path) -> None:
    seen: list[Progress] = []
    path = spy(tmp_path, *range(0, 30_000, 3))
    play([path], ListWriter(), StepClock(NOW), PlayOptions(), seen.append)
    assert [it.events for it in seen] == sorted(it.events for it in seen)
    assert seen[-1].events == 10_000 + 31
    assert seen[-1].bytes_read == seen[-1].bytes_total == path.stat().st_size
    assert (seen[-1].lap, seen[-1].dead_letters) == (1, 0)
    assert 17 * NS < seen[-1].ts_event - seen[0].ts_event < 31 * NS


def test_labels_and_column_maps_reach_the_files(tmp_path: Path) -> None:
    path = plain(tmp_path / "ticks.csv", f"{OPEN_MS},1674100,100,Q,1,0")
    writer, _ = played([path], PlayOptions(labels=Labels(symbol="QQQ", day=date(2013, 10, 8))))
    assert isinstance(writer.events[0], Trade)
    assert writer.events[0].symbol == "QQQ"


def test_a_bad_file_among_good_ones_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    bad = tmp_path / "lean_usa_tick_ibm_20131007_trade.csv.gz"
    bad.write_bytes(gzip.compress(random.Random(1).randbytes(1_000)))
    writer = ListWriter()
    with pytest.raises(InputError, match=r"ibm_20131007_trade.csv.gz:1: expected LEAN"):
        play([spy(tmp_path, 0), bad], writer, StepClock(NOW))
    assert writer.batches == []


def test_a_file_that_breaks_off_is_told_after_what_came_before_is_acknowledged(tmp_path: Path) -> None:
    path = spy(tmp_path, *(row * 7 + row % 5 for row in range(200_000)))
    path.write_bytes(path.read_bytes()[:-2_000])
    writer = ListWriter()
    with pytest.raises(InputError, match=r"csv.gz:\d+: the file breaks off or is damaged") as caught:
        play([path], writer, StepClock(NOW))
    line = int(str(caught.value).split("csv.gz:")[1].split(":")[0])
    assert len(market(writer.events)) == line - 1
    assert writer.flushes == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PlayOptions(speed=0), "speed: expected 1, 10 or any number above 0"),
        (PlayOptions(speed=-1), "found -1"),
        (PlayOptions(speed=math.nan), "found nan"),
        (PlayOptions(limit=0), "limit: expected at least 1 event"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options: PlayOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        played([spy(tmp_path, 0)], options)


def test_no_path_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one file to play"):
        played([])
    with pytest.raises(InputError, match=r"nowhere.csv: expected a readable file"):
        played([tmp_path / "nowhere.csv"])


def test_a_log_that_fails_ends_the_play(tmp_path: Path) -> None:
    class Broken(ListWriter):
        def write(self, events: Sequence[Event]) -> None:
            raise DeliveryError("the broker did not acknowledge a record")

    with pytest.raises(DeliveryError):
        play([spy(tmp_path, 0)], Broken(), StepClock(NOW))


class TestRealRecordings:
    pytestmark = needs_recordings

    def test_a_day_of_spy_is_250_601_trades(self) -> None:
        writer, result = played([SHARED / "ticks" / TRADES])
        assert result.events["trade"] == 250_601
        assert Counter(map(type, writer.events)) == {Trade: 250_601, Heartbeat: result.events["heartbeat"]}
        beats = [event.seq for event in writer.events if isinstance(event, Heartbeat)]
        assert beats == list(range(beats[0], beats[0] + len(beats)))
        assert result.dead_letters == 0

    def test_trades_and_quotes_of_two_markets_come_in_one_order(self) -> None:
        paths = [
            SHARED / "quotes" / "lean_usa_tick_ibm_20131007_quote.csv.gz",
            SHARED / "ticks" / "lean_usa_tick_ibm_20131007_trade.csv.gz",
            SHARED / "ticks" / "hftbacktest_binance_spot_btcusdt_20240808.raw.gz",
        ]
        writer, result = played(paths)
        assert result.events["trade"] == 24_293 + 9_757
        assert result.dead_letters == 1
        newest = 0
        for event in writer.events:
            assert event.ts_event > newest - NS
            newest = max(newest, event.ts_event)
        assert isinstance(writer.events[0], Quote)

    def test_a_played_quarter_of_an_hour_at_speed_10_is_the_head_of_the_whole_day(self) -> None:
        path = SHARED / "ticks" / "lean_usa_tick_bac_20131007_trade.csv.gz"
        whole, _ = played([path])
        short, _ = played([path], PlayOptions(speed=10, limit=5_000))
        assert unstamped(short.events)[:5_000] == unstamped(whole.events)[:5_000]
