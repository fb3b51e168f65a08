import numpy as np

from processors.indicators.extremes import HighDist, LowDist
from tests.builders import fold, news, trade


def test_distances_are_from_the_highest_and_lowest_mid() -> None:
    told = [trade(10.0, at_s=0), trade(16.0, at_s=30), trade(8.0, at_s=31), trade(12.0, at_s=60)]
    assert fold(HighDist(window_s=60), *told)[-1] == 12.0 / 16.0 - 1.0
    assert fold(LowDist(window_s=60), *told)[-1] == 12.0 / 8.0 - 1.0


def test_the_mid_that_stood_as_the_window_began_belongs_to_it() -> None:
    told = [trade(10.0, at_s=0), trade(9.0, at_s=1), trade(12.0, at_s=500)]
    assert fold(LowDist(window_s=60), *told)[-1] == 12.0 / 9.0 - 1.0


def test_a_high_that_was_replaced_leaves_with_its_tile() -> None:
    told = [trade(10.0, at_s=0), trade(90.0, at_s=2), trade(10.0, at_s=2.5), news(0.0, at_s=61.9), news(0.0, at_s=62)]
    assert list(fold(HighDist(window_s=60), *told)[-2:]) == [10.0 / 90.0 - 1.0, 0.0]


def test_it_is_not_a_number_before_a_window_of_prices() -> None:
    rows = fold(
        HighDist(window_s=60), news(0.0, at_s=0), trade(1.0, at_s=50), trade(1.0, at_s=109), trade(1.0, at_s=110)
    )
    assert list(np.isnan(rows)) == [True, True, True, False]
