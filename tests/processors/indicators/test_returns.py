import math

import numpy as np
import pytest

from processors.indicators.returns import ReturnEwm, log_return
from processors.indicators.volatility import Volatility, VolatilityEwm
from tests.builders import fold, news, quote, trade


def test_a_return_counts_half_after_a_half_life() -> None:
    rows = fold(ReturnEwm(half_life_s=8), trade(10.0, at_s=0), trade(20.0, at_s=60), trade(20.0, at_s=68))
    assert rows[1] == pytest.approx(math.log(2.0), rel=1e-15)
    assert rows[2] == pytest.approx(math.log(2.0) / 2.0, rel=1e-15)


def test_a_return_is_gone_after_six_half_lives() -> None:
    told = [trade(10.0, at_s=0), trade(20.0, at_s=60), trade(20.0, at_s=107), trade(20.0, at_s=108)]
    rows = fold(ReturnEwm(half_life_s=8), *told)
    assert rows[2] == pytest.approx(math.log(2.0) * 2 ** (-47 / 8), rel=1e-14)
    assert rows[3] == 0.0


def test_news_before_the_first_price_does_not_start_the_window() -> None:
    rows = fold(
        ReturnEwm(half_life_s=8), news(1.0, at_s=0), trade(10.0, at_s=40), news(1.0, at_s=87), news(1.0, at_s=88)
    )
    assert list(np.isnan(rows)) == [True, True, True, False]


@pytest.mark.parametrize("move", [0.0, 1e-15, 1e-9, -1e-7, 3e-5, -0.0123, 0.00999, 0.0101, -0.5, 3.0, 999.0])
def test_a_log_return_of_a_small_move_is_exact_to_the_last_digit(move: float) -> None:
    after = 168.41 * (1.0 + move)
    rel = 4e-16 if abs(move) < 0.01 else 1e-14
    assert log_return(168.41, after) == pytest.approx(math.log1p((after - 168.41) / 168.41), rel=rel, abs=0)


def test_volatility_is_per_square_root_of_a_second() -> None:
    told = [quote(0.5, 1.5, at_s=0), quote(1.5, 2.5, at_s=60), quote(0.5, 1.5, at_s=61), quote(0.5, 1.5, at_s=62)]
    rows = fold(Volatility(window_s=60), *told)
    assert rows[3] == pytest.approx(math.sqrt(2 * math.log(2.0) ** 2 / 59.0), rel=1e-15)


def test_volatility_is_0_where_the_mid_did_not_move() -> None:
    assert fold(Volatility(window_s=60), trade(3.0, at_s=0), trade(3.0, at_s=60))[-1] == 0.0


def test_an_even_walk_has_the_same_volatility_in_every_window() -> None:
    told = [trade(100.0 + (k % 2), at_s=k + 0.999999999) for k in range(400)]
    plain, decayed = fold(Volatility(window_s=60), *told), fold(VolatilityEwm(half_life_s=8), *told)
    np.testing.assert_allclose([plain[-1], decayed[-1]], math.log(101.0 / 100.0), rtol=1e-9)
