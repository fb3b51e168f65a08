"""A log replayed: what is due when, where it ends, and what `--from` and `--to` mean."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from infra.replay.names import checked_name
from infra.replay.run import ReplayOptions, _Run
from infra.settings import Settings
from processors.sessions import Sessions
from schemas.errors import InputError, LogError
from streams.blocks import AT_ONCE, FEW
from streams.decode import Poll
from streams.replay import SILENCE_S, Pace, ReplayBuffer, Span, SpanLog
from streams.span_text import Bound, bound
from tests.fakes import ListLog, ListReader, NoMeter, SteppingClock
from tests.logs import START
from tests.services.processes import until
from tests.streams.test_blocks import TABLES, Gate, Stretches, maker


def log(**counts: int) -> ListLog:
    """Partitions `p0`, `p1`… with so many records, ten milliseconds apart by the broker's clock."""
    return ListLog({int(name[1:]): [b"x"] * count for name, count in counts.items()})


def read(spans: SpanLog, clock: SteppingClock, step_s: float) -> list[tuple[float, int, int]]:
    """(seconds after the first look, partition, offset) of every record, in steps of time, until all readers have ended."""
    readers, start, given = [spans.open(p, None) for p in spans.partitions], clock.now, []
    while not all(reader.ended() for reader in readers):
        for reader in readers:
            poll = reader.poll(7)
            if poll is not None:
                given += [((clock.now - start) / 1e9, poll.partition, offset) for offset in poll.offsets]
        clock.sleep(step_s)
    return given


def test_at_speed_one_every_record_waits_for_its_gap() -> None:
    clock = SteppingClock()
    given = read(SpanLog(log(p0=50), [Span(0, 0, 50)], clock, 1.0), clock, step_s=0.01)
    assert [offset for _, _, offset in given] == list(range(50))
    assert all(abs(at - 0.01 * offset) <= 0.010_001 for at, _, offset in given)


@pytest.mark.parametrize("speed", [1.0, 10.0, math.inf])
def test_every_speed_gives_the_same_records_in_the_same_order(speed: float) -> None:
    clock = SteppingClock()
    spans = [Span(0, 3, 40), Span(1, 0, 100)]
    given = read(SpanLog(log(p0=60, p1=100), spans, clock, speed), clock, step_s=0.005)
    for span in spans:
        assert [offset for _, p, offset in given if p == span.partition] == list(range(span.first, span.end))


def test_ten_times_as_fast_takes_a_tenth_of_the_time() -> None:
    took = {}
    for speed in (1.0, 10.0):
        clock = SteppingClock()
        took[speed] = read(SpanLog(log(p0=201), [Span(0, 0, 201)], clock, speed), clock, step_s=0.001)[-1][0]
    assert took[1.0] == pytest.approx(2.0, abs=0.01)
    assert took[10.0] == pytest.approx(0.2, abs=0.01)


def test_nothing_is_due_before_the_earliest_first_record_of_all_partitions_is_known() -> None:
    clock = SteppingClock()
    pace = Pace(clock, 1.0, {0, 1})
    pace.show(0, 5_000)
    assert pace.due([5_000]) == 0
    pace.show(1, 4_000)
    assert (pace.due([5_000]), pace.due([4_000, 4_001])) == (0, 1)
    clock.sleep(1.0)
    assert pace.due([5_000, 5_001]) == 1


class Stamped(ListLog):
    """A log whose broker stamps are given: partition to milliseconds, offset by offset."""

    def __init__(self, stamps: dict[int, list[int]]) -> None:
        super().__init__({partition: [b"x"] * len(given) for partition, given in stamps.items()}, per_poll=2)
        self.stamps = stamps

    def open(self, partition: int, offset: int | None) -> ListReader:
        return StampedReader(self, partition, offset or 0)


class StampedReader(ListReader):
    def poll(self, most: int) -> Poll | None:
        found, log = super().poll(most), self.log
        assert isinstance(log, Stamped)
        return found and replace(found, ts_broker=[log.stamps[found.partition][offset] for offset in found.offsets])


S = 1_795_000_000_000
"""Milliseconds."""
STRANGE = {
    "later than can be": ([S, S + 10, S * 1_000, S + 20, S + 30], [0, 10, 10, 20, 30]),
    "none": ([S, -1, S + 20, -1, S + 30], [0, 0, 20, 20, 30]),
    "none at first": ([-1, -1, 0, S, S + 30], [0, 0, 0, 0, 30]),
    "falling": ([S, S + 30, S + 10, S + 20, S + 40], [0, 30, 30, 30, 40]),
    "never any": ([-1] * 5, [0] * 5),
}


@pytest.mark.parametrize("speed", [0.1, 1.0, math.inf])
@pytest.mark.parametrize(("stamps", "expected_ms"), STRANGE.values(), ids=STRANGE)
def test_a_stamp_that_the_fold_does_not_believe_makes_nobody_wait(
    stamps: list[int], expected_ms: list[int], speed: float
) -> None:
    clock, spans = SteppingClock(), [Span(0, 0, 5), Span(1, 0, 5)]
    pace = SpanLog(Stamped({0: stamps, 1: [-1] * 5}), spans, clock, speed)
    reader, other = pace.open(0, None), pace.open(1, None)
    given: list[tuple[float, int, int]] = []
    for _ in range(1_000):
        for poll in filter(None, (reader.poll(7), other.poll(7))):
            if poll.partition == 0:
                at = (clock.now - START) / 1e6
                given += [(at, *record) for record in zip(poll.offsets, poll.ts_broker, strict=True)]
        clock.sleep(0.001)
    assert other.ended()
    assert [record[1:] for record in given] == list(enumerate(stamps))
    assert [at for at, _, _ in given] == pytest.approx([each / speed for each in expected_ms], abs=5)


def test_an_empty_span_is_not_waited_for() -> None:
    spans = SpanLog(log(p0=5, p1=0), [Span(0, 0, 5), Span(1, 0, 0)], SteppingClock(), 1.0)
    assert spans.partitions == [0]


def test_a_record_that_never_comes_is_told_and_not_waited_for_for_ever() -> None:
    clock = SteppingClock()
    reader = SpanLog(log(p0=5), [Span(0, 0, 9)], clock).open(0, None)
    assert isinstance(reader.poll(100), Poll)
    assert reader.poll(100) is None
    clock.sleep(SILENCE_S + 1)
    with pytest.raises(LogError, match="expected records up to offset 8, found none after 4"):
        reader.poll(100)


def test_a_replay_that_failed_stores_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans, nowhere, store = SpanLog(log(p0=5), [Span(0, 0, 5)], SteppingClock()), object(), Gate()
    run = _Run(Settings(data=tmp_path), spans, nowhere, "r")  # type: ignore[arg-type]
    run.buffer.abandon()
    run.buffer = ReplayBuffer(store, maker(), TABLES, NoMeter())

    def fails(_: object) -> None:
        run.buffer.open(0)
        run.buffer.add(Stretches().next(FEW))
        until("inserts to be on their way", lambda: store.waiting == AT_ONCE, within_s=60)
        raise OSError("no more memory")

    monkeypatch.setattr("infra.replay.run.sessions", lambda *_: Sessions())
    monkeypatch.setattr("infra.replay.run.run_main", fails)
    with pytest.raises(OSError, match="no more memory"):
        run.go(ReplayOptions(into="r"), lambda _: None, lambda: False)
    assert len(store.inserts) == AT_ONCE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Bound()),
        ("1000", Bound(everywhere=1000)),
        ("0:100,3:50", Bound(by_partition={0: 100, 3: 50})),
        ("2026-11-22T14:30:00Z", Bound(at_ms=1_795_357_800_000)),
        ("2026-11-22T15:30:00+01:00", Bound(at_ms=1_795_357_800_000)),
        ("2026-11-22 14:30", Bound(at_ms=1_795_357_800_000)),
    ],
)
def test_a_bound_is_an_offset_or_pairs_or_a_time(text: str, expected: Bound) -> None:
    assert bound(text, "--from") == expected


@pytest.mark.parametrize("text", ["-5", "0:", "0:1;1:2", "yesterday", "1:2:3"])
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match="--to: expected an offset such as 1000"):
        bound(text, "--to")


@pytest.mark.parametrize("name", ["", "Big", "a-b", "x`; DROP", "1a", "a" * 33, "a\n"])
def test_a_name_that_could_be_no_table_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--into"):
        checked_name(name)
