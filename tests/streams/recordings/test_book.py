"""The book follows Binance's procedure, and its top is the best of what is left."""

from hypothesis import given
from hypothesis import strategies as st

from streams.recordings.book import MAX_WAITING, Diff, OrderBook, Top

PRICES = st.integers(1, 8)
LEVELS = st.lists(st.tuples(PRICES.map(float), st.integers(0, 3).map(float)), max_size=4)


def spot(first: int, last: int, bids: list[tuple[float, float]] | None = None) -> Diff:
    return Diff(first, last, None, bids or [], [])


def futures(first: int, last: int, before: int) -> Diff:
    return Diff(first, last, before, [], [])


def loaded(last: int = 100) -> OrderBook:
    book = OrderBook()
    book.load(last, [(99.0, 1.0), (98.0, 2.0)], [(101.0, 3.0)])
    return book


def test_a_snapshot_gives_the_top() -> None:
    assert loaded().top == Top(99.0, 1.0, 101.0, 3.0)


def test_nothing_is_known_before_a_snapshot() -> None:
    book = OrderBook()
    assert book.apply(spot(1, 5, [(99.0, 1.0)])) == "waiting"
    assert book.top is None


def test_a_diff_sets_changes_and_takes_levels_out() -> None:
    book = loaded()
    assert book.apply(Diff(101, 103, None, [(99.0, 0.0)], [(100.5, 7.0)])) == "applied"
    assert book.top == Top(98.0, 2.0, 100.5, 7.0)


def test_a_book_with_an_empty_side_has_no_top() -> None:
    book = loaded()
    book.apply(Diff(101, 101, None, [], [(101.0, 0.0)]))
    assert book.top is None


def test_diffs_that_waited_are_applied_if_the_snapshot_lacks_them() -> None:
    book = OrderBook()
    book.apply(spot(90, 95, [(99.0, 5.0)]))
    book.apply(spot(96, 105, [(99.5, 6.0)]))
    assert book.load(100, [(99.0, 1.0)], [(101.0, 3.0)])
    assert (book.top, book.last) == (Top(99.5, 6.0, 101.0, 3.0), 105)


def test_the_first_spot_diff_must_reach_across_the_snapshot() -> None:
    assert loaded(100).apply(spot(100, 100)) == "old"
    assert loaded(100).apply(spot(101, 101)) == "applied"
    assert loaded(100).apply(spot(95, 101)) == "applied"
    assert loaded(100).apply(spot(102, 110)) == "gap"


def test_the_first_futures_diff_must_reach_across_the_snapshot() -> None:
    assert loaded(100).apply(futures(90, 99, 89)) == "old"
    assert loaded(100).apply(futures(90, 100, 89)) == "applied"
    assert loaded(100).apply(futures(100, 120, 95)) == "applied"
    assert loaded(100).apply(futures(105, 120, 100)) == "applied"
    assert loaded(100).apply(futures(105, 120, 103)) == "gap"


def test_later_diffs_must_follow_the_one_before() -> None:
    book = loaded(100)
    assert [book.apply(spot(*ids)) for ids in ((101, 103), (104, 104), (103, 104), (106, 107))] == [
        "applied", "applied", "old", "gap",
    ]  # fmt: skip
    book = loaded(100)
    assert [book.apply(futures(*ids)) for ids in ((99, 103, 98), (110, 112, 103), (113, 115, 111))] == [
        "applied", "applied", "gap",
    ]  # fmt: skip


def test_after_a_gap_the_book_is_unknown_until_a_snapshot_that_reaches_what_waited() -> None:
    book = loaded(100)
    book.apply(spot(105, 110, [(99.7, 1.0)]))
    tops = [book.top]
    for last, reaches in ((101, False), (107, True)):
        assert book.load(last, [(99.0, 1.0)], [(101.0, 3.0)]) is reaches
        tops.append(book.top)
    assert tops == [None, None, Top(99.7, 1.0, 101.0, 3.0)]
    assert book.last == 110


def test_a_snapshot_older_than_a_book_in_step_changes_nothing() -> None:
    book = loaded(100)
    book.apply(spot(101, 120, [(99.5, 1.0)]))
    assert book.load(110, [(50.0, 1.0)], [(51.0, 1.0)])
    assert (book.top, book.last) == (Top(99.5, 1.0, 101.0, 3.0), 120)


def test_waiting_diffs_do_not_fill_the_memory() -> None:
    book = OrderBook()
    for last in range(1, MAX_WAITING + 10):
        book.apply(spot(last, last))
    assert not book.load(5, [(99.0, 1.0)], [(101.0, 3.0)])
    assert book.load(MAX_WAITING + 5, [(99.0, 1.0)], [(101.0, 3.0)])


@given(bids=LEVELS, asks=LEVELS, diffs=st.lists(st.tuples(LEVELS, LEVELS), max_size=20))
def test_the_top_is_the_best_of_all_levels_after_any_diffs(
    bids: list[tuple[float, float]], asks: list[tuple[float, float]], diffs: list[tuple[list[tuple[float, float]], ...]]
) -> None:
    book = OrderBook()
    book.load(0, bids, asks)
    plain_bids, plain_asks = dict(bids), dict(asks)
    for number, (more_bids, more_asks) in enumerate(diffs, 1):
        book.apply(Diff(number, number, None, more_bids, more_asks))
        plain_bids.update(more_bids)
        plain_asks.update(more_asks)
    left_bids = {price: size for price, size in plain_bids.items() if size > 0}
    left_asks = {price: size for price, size in plain_asks.items() if size > 0}
    if not left_bids or not left_asks:
        assert book.top is None
    else:
        bid, ask = max(left_bids), min(left_asks)
        assert book.top == Top(bid, left_bids[bid], ask, left_asks[ask])
