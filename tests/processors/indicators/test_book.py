import numpy as np
import pytest

from processors.indicators.book import BookImbalance, BookImbalanceEwm, MicropriceDev, Spread, SpreadEwm
from tests.builders import fold, quote, trade


def test_the_spread_is_a_fraction_of_the_mid() -> None:
    assert fold(Spread(), quote(9.0, 11.0, at_s=0))[0] == 0.2


def test_the_quote_stands_until_the_next() -> None:
    assert list(fold(Spread(), trade(1.0, at_s=0), quote(9.0, 11.0, at_s=1), trade(11.0, at_s=2))[1:]) == [0.2, 0.2]
    assert np.isnan(fold(Spread(), trade(1.0, at_s=0)))


def test_imbalance_is_the_bids_share_less_the_asks() -> None:
    assert fold(BookImbalance(), quote(1.0, 2.0, at_s=0, bid_size=30, ask_size=10))[0] == 0.5


def test_the_microprice_leans_to_the_side_with_less_size() -> None:
    rows = fold(MicropriceDev(), quote(9.0, 11.0, at_s=0, bid_size=30, ask_size=10))
    assert rows[0] == pytest.approx((9.0 * 10 + 11.0 * 30) / 40 / 10.0 - 1.0)


@pytest.mark.parametrize("indicator", [BookImbalance(), MicropriceDev(), BookImbalanceEwm(half_life_s=1)], ids=repr)
def test_quotes_without_sizes_have_no_balance(indicator: BookImbalance | MicropriceDev | BookImbalanceEwm) -> None:
    rows = fold(indicator, *(quote(1.0, 2.0, at_s=at, bid_size=0, ask_size=0) for at in (0, 10)))
    assert np.isnan(rows).all()


def test_a_spread_counts_for_the_time_that_it_stood() -> None:
    told = [quote(9.0, 11.0, at_s=0), quote(9.5, 10.5, at_s=48), quote(9.0, 11.0, at_s=48.25), trade(10.0, at_s=48.5)]
    rows = fold(SpreadEwm(half_life_s=8), *told)
    closed = sum(2 ** (-age / 8) for age in range(1, 48))
    assert rows[3] == pytest.approx((0.2 * closed + 0.1 * 0.25 + 0.2 * 0.25) / (closed + 0.5))


def test_a_quote_that_stands_through_a_silence_fills_the_window() -> None:
    told = [quote(9.0, 11.0, at_s=0), quote(9.5, 10.5, at_s=1), trade(10.0, at_s=1_000)]
    assert fold(SpreadEwm(half_life_s=8), *told)[-1] == pytest.approx(0.1, rel=1e-15)


def test_a_quote_without_sizes_changes_no_balance() -> None:
    told = [quote(1.0, 2.0, at_s=at, bid_size=size, ask_size=0) for at, size in ((0, 5), (30, 0), (100, 0))]
    assert fold(BookImbalanceEwm(half_life_s=8), *told)[-1] == pytest.approx(1.0, rel=1e-15)
