"""Quotes without a stamp are dated between the stamped messages around them."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Quote
from streams.recordings.send_clock import MAX_WAITING, SendClock, Stamp

BEHIND = 1_270


def quote(number: int = 0) -> Quote:
    return Quote(
        symbol="X", venue="Y", seq=number, ts_event=0, ts_ingest=0, bid=1.0, bid_size=1.0, ask=2.0, ask_size=1.0
    )


def dated(messages: Iterable[tuple[int, int | None]]) -> list[int]:
    """(received, sent or none) in order of receipt to the times of the quotes (those without a sending time)."""
    clock, times = SendClock(), list[int]()
    for received, sent in messages:
        if sent is None:
            times += [it.ts_event for it in clock.unstamped(received, quote())]
        else:
            times += [it.ts_event for it in clock.stamped(Stamp(received, sent))]
    return times + [it.ts_event for it in clock.rest()]


def test_a_quote_is_dated_by_the_stamp_before_it_and_the_time_passed_since() -> None:
    assert dated([(1_000, 1_000 + BEHIND), (1_040, None), (1_100, 1_100 + BEHIND)]) == [1_040 + BEHIND]


def test_a_quote_is_never_later_than_the_stamped_message_behind_it() -> None:
    assert dated([(1_000, 2_000), (1_090, None), (1_100, 2_050)]) == [2_050]


def test_a_quote_before_the_first_stamp_is_counted_back_from_it() -> None:
    assert dated([(980, None), (1_000, 2_000)]) == [1_980]


def test_a_quote_after_the_last_stamp_is_counted_on_from_it() -> None:
    assert dated([(1_000, 2_000), (1_300, None)]) == [2_300]


def test_without_any_stamp_the_time_of_receipt_stays() -> None:
    assert dated([(1_000, None), (1_005, None)]) == [1_000, 1_005]


def test_waiting_quotes_do_not_fill_the_memory() -> None:
    clock = SendClock()
    given_back = [it for i in range(MAX_WAITING) for it in clock.unstamped(i, quote(i))]
    assert [it.seq for it in given_back] == list(range(MAX_WAITING))
    assert list(clock.rest()) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(0, 40)), max_size=40), st.integers(-2_000, 2_000))
def test_times_never_run_backwards_and_lie_between_the_stamps_around_them(
    steps: list[tuple[int, int | None]], offset: int
) -> None:
    """`steps`: time since the last message, and none or the message's delay on its way."""
    messages, sent_times, received = list[tuple[int, int | None]](), list[int](), 10_000
    for gap, delay in steps:
        received += gap
        messages.append((received, None if delay is None else received + offset - delay))
    times = dated(messages)
    assert times == sorted(times)
    assert len(times) == sum(sent is None for _, sent in messages)
    sent_times = [sent for _, sent in messages if sent is not None]
    seen, newest, at = 0, None, 0
    for _, sent in messages:
        if sent is not None:
            newest, seen = sent if newest is None else max(newest, sent), seen + 1
            continue
        if newest is not None:
            assert times[at] >= newest
        if newest is not None and seen < len(sent_times):
            assert times[at] <= max(newest, sent_times[seen])
        at += 1
