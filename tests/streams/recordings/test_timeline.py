"""Recordings merged in event time, with heartbeats, again and again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Heartbeat, Quote, Trade
from schemas.rows import DeadLetter
from streams.recordings.recording import Recorded, letter
from streams.recordings.timeline import LONGEST_GAP_S, WEEK_NS, Laps, Said, merged, with_heartbeats
from tests.streams.recordings.files import only

NS = 1_000_000_000
T0 = 1_381_132_800  # 2013-10-07 08:00 UTC, s


@dataclass
class ListRecording:
    """A list as a recording."""

    rows: Sequence[Recorded]
    name: str = "list"
    symbols: frozenset[str] | None = None
    size: int = 0
    position: int = 0
    first_ns: int = 0
    numbered_by_time: bool = False

    def items(self) -> Iterator[Recorded]:
        yield from self.rows


def trade(at_s: float, seq: int = 0, symbol: str = "A", venue: str = "V") -> Trade:
    return Trade(
        symbol=symbol, venue=venue, seq=seq, ts_event=T0 * NS + round(at_s * NS), ts_ingest=0, price=1.0, size=1.0
    )


def quote(at_s: float, seq: int = 0) -> Quote:
    return Quote(
        symbol="A", venue="V", seq=seq, ts_event=T0 * NS + round(at_s * NS), ts_ingest=0, bid=1.0, bid_size=1.0,
        ask=2.0, ask_size=1.0,
    )  # fmt: skip


def bad(line: int) -> DeadLetter:
    return letter("list", line, "undecodable", "", b"")


def said(*recordings: Sequence[Recorded], tail_s: int = 0) -> list[tuple[float, Said]]:
    """(seconds since T0 on the playing clock, item)."""
    timeline = with_heartbeats(merged([ListRecording(rows) for rows in recordings]), tail_s)
    return [((at - T0 * NS) / NS, item) for at, item in timeline]


def beats(items: Sequence[tuple[float, Said]]) -> list[tuple[int, str]]:
    return [(item.ts_event // NS - T0, item.venue) for _, item in items if isinstance(item, Heartbeat)]


def test_recordings_are_merged_by_event_time_and_equal_times_keep_their_order() -> None:
    items = merged([ListRecording([trade(1, 1), trade(3, 2)]), ListRecording([quote(0, 3), quote(1, 4), quote(4, 5)])])
    assert [item.seq for _, item in items if not isinstance(item, DeadLetter)] == [3, 1, 4, 2, 5]


def test_numbers_that_come_from_stamps_rise_over_all_recordings_of_a_symbol() -> None:
    first = ListRecording([trade(1, 10), trade(2, 20), trade(2, 21)], numbered_by_time=True)
    second = ListRecording([trade(2, 20), trade(2, 21), quote(2, 20), trade(3, 30)], numbered_by_time=True)
    its_own = ListRecording([trade(2, 20, venue="W")])
    found = [item for _, item in merged([first, second, its_own]) if not isinstance(item, DeadLetter)]
    assert [each.seq for each in found if isinstance(each, Trade) and each.venue == "V"] == [10, 20, 21, 22, 23, 30]
    assert [each.seq for each in only(Quote, found)] == [20]
    assert [each.seq for each in only(Trade, found) if each.venue == "W"] == [20]


def test_a_recording_is_opened_when_its_first_event_is_due() -> None:
    opened: list[str] = []

    class Watched(ListRecording):
        def items(self) -> Iterator[Recorded]:
            opened.append(self.name)
            yield from self.rows

    days = [Watched([bad(1), trade(day, day)], str(day), first_ns=(T0 + day) * NS) for day in (3, 1, 2)]
    seen = []
    for at, item in merged(days):
        seen.append((at // NS - T0, type(item), len(opened)))
    assert opened == ["1", "2", "3"]
    assert seen == [(day, kind, day) for day in (1, 2, 3) for kind in (DeadLetter, Trade)]


def test_an_event_that_steps_back_keeps_its_place_in_its_file() -> None:
    items = merged(
        [ListRecording([trade(1, 1), trade(5, 2), trade(4.8, 3), trade(6, 4)]), ListRecording([quote(4.9, 9)])]
    )
    assert [item.seq for _, item in items if not isinstance(item, DeadLetter)] == [1, 9, 2, 3, 4]


def test_only_wanted_symbols_pass_whatever_their_case() -> None:
    rows: list[Recorded] = [trade(0, 1, "abc"), trade(1, 2, "DEF"), bad(3)]
    found = [item for _, item in merged([ListRecording(rows)], frozenset({"ABC"}))]
    assert found == [rows[0], rows[2]]


@given(st.lists(st.lists(st.integers(0, 20_000), max_size=20), min_size=1, max_size=4))
def test_a_merge_of_sorted_files_is_what_sorting_everything_gives(files: list[list[int]]) -> None:
    recordings = [[trade(ms / 1_000, seq) for seq, ms in enumerate(sorted(file))] for file in files]
    found = [item for _, item in merged([ListRecording(rows) for rows in recordings])]
    everything = [row for rows in recordings for row in rows]
    assert found == sorted(everything, key=lambda row: row.ts_event)


def test_a_heartbeat_stands_at_every_whole_second_before_the_first_event_after_it() -> None:
    items = said([trade(0.5), trade(1.0), trade(1.2), trade(3.7)])
    assert [(item.ts_event - T0 * NS) / NS for _, item in items if not isinstance(item, DeadLetter)] == [
        0.5, 1.0, 1.0, 1.2, 2.0, 3.0, 3.7,
    ]  # fmt: skip
    assert [type(item) for _, item in items] == [Trade, Trade, Heartbeat, Trade, Heartbeat, Heartbeat, Trade]


def test_every_venue_has_its_heartbeats_from_its_first_event_on() -> None:
    items = said([trade(0.5, venue="Z"), trade(2.5, venue="Z")], [trade(1.5, venue="B"), trade(3.5, venue="B")])
    assert beats(items) == [(1, "Z"), (2, "B"), (2, "Z"), (3, "B"), (3, "Z")]


def test_heartbeats_are_numbered_by_their_second_so_that_no_other_play_repeats_them() -> None:
    items = said([trade(0.5), trade(3.5)])
    found = [item for _, item in items if isinstance(item, Heartbeat)]
    assert [beat.seq for beat in found] == [T0 + 1, T0 + 2, T0 + 3]


def test_after_the_last_event_heartbeats_go_on_for_the_tail() -> None:
    assert beats(said([trade(0.5)], tail_s=3)) == [(1, "V"), (2, "V"), (3, "V")]
    assert said([bad(1)], tail_s=3) != []
    assert beats(said([bad(1)], tail_s=3)) == []


def test_an_hour_of_silence_has_every_heartbeat() -> None:
    items = said([trade(0.5), trade(LONGEST_GAP_S + 0.5)])
    assert beats(items) == [(second, "V") for second in range(1, LONGEST_GAP_S + 1)]


def test_a_night_is_played_as_one_hour_and_ends_with_its_last_second() -> None:
    night = 8 * 3_600
    items = said([trade(0.5), trade(night + 0.5), trade(night + 2.5)])
    seconds = [*range(1, LONGEST_GAP_S + 1), night, night + 1, night + 2]
    assert beats(items) == [(second, "V") for second in seconds]
    played = [at for at, _ in items]
    assert played == sorted(played)
    assert played[-1] == LONGEST_GAP_S + 2.5


def test_dead_letters_wait_for_no_time_and_start_no_heartbeats() -> None:
    items = said([bad(1), trade(5.5), bad(3), trade(7.5), bad(5)])
    assert [type(item) for _, item in items] == [
        DeadLetter, Trade, DeadLetter, Heartbeat, Heartbeat, Trade, DeadLetter,
    ]  # fmt: skip


def test_a_second_lap_is_whole_weeks_later_and_repeats_no_number() -> None:
    rows: list[Recorded] = [trade(0, 10), quote(1, 5), trade(2, 11), bad(4), quote(90_000, 6)]
    laps = Laps(lambda: merged([ListRecording(rows)]))
    first, second, third = (list(laps.run()) for _ in range(3))
    assert [item for _, item in first] == rows
    for lap, items in ((1, second), (2, third)):
        events = [item for _, item in items if not isinstance(item, DeadLetter)]
        assert len(events) == len(items) == 4
        assert [item.ts_event for item in events] == [
            row.ts_event + lap * WEEK_NS for row in rows if not isinstance(row, DeadLetter)
        ]
    all_items = [item for items in (first, second, third) for _, item in items]
    for numbers in ([it.seq for it in only(Trade, all_items)], [it.seq for it in only(Quote, all_items)]):
        assert all(a < b for a, b in pairwise(numbers))


def test_a_lap_longer_than_a_week_is_moved_by_as_many_weeks_as_it_needs() -> None:
    laps = Laps(lambda: merged([ListRecording([trade(0, 1), trade(8 * 86_400, 2)])]))
    first, second = list(laps.run()), list(laps.run())
    assert second[0][0] - first[0][0] == 2 * WEEK_NS
    assert second[0][0] > first[-1][0]
