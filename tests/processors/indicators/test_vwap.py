import numpy as np

from processors.indicators.vwap import Vwap
from tests.builders import fold, trade


def test_a_trade_leaves_the_window_exactly_at_its_edge() -> None:
    rows = fold(Vwap(window_s=60), trade(10.0, at_s=0), trade(20.0, at_s=60))
    assert rows[-1] == 0.0


def test_it_is_not_a_number_until_a_whole_window_has_passed() -> None:
    rows = fold(Vwap(window_s=60), trade(10.0, at_s=0), trade(20.0, at_s=59.999), trade(20.0, at_s=60))
    assert list(np.isnan(rows)) == [True, True, False]


def test_it_is_the_distance_from_the_mean_weighted_by_size() -> None:
    rows = fold(Vwap(window_s=60), trade(1.0, at_s=0), trade(10.0, at_s=59, size=1), trade(20.0, at_s=60, size=3))
    assert rows[-1] == 20.0 / ((10.0 + 60.0) / 4.0) - 1.0
