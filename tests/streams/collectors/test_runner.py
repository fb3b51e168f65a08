"""The simulated exchange happens live at the pace of the clock it is given."""

from collections.abc import Sequence

from msgspec.structs import replace

from schemas.events import Event
from streams.collectors.runner import run_live
from streams.collectors.sim import SimExchange
from tests.streams.writers import CountingMeter, ListWriter, StepClock

S = 1_000_000_000
START = 1_700_000_000 * S


def live(clock: StepClock, until_ns: int, writer: ListWriter, *, start: int = START) -> CountingMeter:
    sim, meter = SimExchange(3, 24, start, events_per_second=200), CountingMeter()
    run_live(sim, writer, writer, clock, meter, stop=lambda: clock.ns >= until_ns)
    return meter


def test_every_event_is_written_once_and_stamped_with_the_time_of_writing() -> None:
    writer, clock = ListWriter(), StepClock(START)
    meter = live(clock, START + 60 * S, writer)
    same = SimExchange(3, 24, START, events_per_second=200)
    expected = same.events_until(START + 60 * S)
    assert [replace(event, ts_ingest=0) for event in writer.events] == [
        replace(event, ts_ingest=0) for event in expected[: len(writer.events)]
    ]
    assert len(expected) - len(writer.events) <= 5  # the last step
    assert all(event.ts_event <= event.ts_ingest for event in writer.events)
    assert meter.counts["tickwire_collect_events_total"] == len(writer.events)
    assert [item.item_id for item in writer.items] == [item.item_id for item in same.news_until(START + 60 * S)]
    assert len(writer.items) > 0
    assert writer.flushes == 2


def test_it_is_never_ahead_of_the_clock_and_waits_in_small_steps() -> None:
    class Watching(ListWriter):
        def write(self, events: Sequence[Event]) -> None:
            assert all(event.ts_event <= clock.ns == event.ts_ingest for event in events)
            super().write(events)

    writer, clock = Watching(), StepClock(START)
    live(clock, START + 5 * S, writer)
    assert set(clock.slept) == {0.005}
    assert max(len(batch) for batch in writer.batches) < 40


def test_after_a_slow_broker_it_catches_up_in_strides_of_a_second() -> None:
    class Stalling(ListWriter):
        def write(self, events: Sequence[Event]) -> None:
            if len(self.batches) == 10:
                clock.ns += 30 * S
            super().write(events)

    writer, clock = Stalling(), StepClock(START)
    live(clock, START + 40 * S, writer)
    spans = [batch[-1].ts_event - batch[0].ts_event for batch in writer.batches]
    assert max(len(batch) for batch in writer.batches) < 600
    assert sum(span > S // 2 for span in spans) >= 20


def test_it_stops_at_once_when_told_and_flushes() -> None:
    writer, clock = ListWriter(), StepClock(START + 60 * S)
    sim = SimExchange(3, 24, START)
    run_live(sim, writer, writer, clock, CountingMeter(), stop=lambda: True)
    assert writer.events == []
    assert writer.flushes == 2


def test_a_clock_that_is_set_back_repeats_nothing() -> None:
    class SetBack(StepClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.slept) == 100:
                self.ns -= 2 * S

    writer, clock = ListWriter(), SetBack(START)
    live(clock, START + 4 * S, writer)
    expected = SimExchange(3, 24, START, events_per_second=200).events_until(START + 4 * S)
    assert [event.ts_event for event in writer.events] == [event.ts_event for event in expected[: len(writer.events)]]
