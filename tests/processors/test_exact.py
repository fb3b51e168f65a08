"""Exact sums against `math.fsum` and against plain fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.exact import exact_sum

POSITIVE = st.floats(min_value=1e-22, max_value=1e27, allow_nan=False)


@given(st.lists(POSITIVE, max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_a_sum_is_the_nearest_float_of_the_true_one_in_any_order(values: list[float], shuffling: object) -> None:
    shuffled = list(values)
    shuffling.shuffle(shuffled)  # type: ignore[attr-defined]
    assert exact_sum(np.array(values, np.float64)) == math.fsum(values)
    assert exact_sum(np.array(shuffled, np.float64)).hex() == math.fsum(values).hex()


@pytest.mark.parametrize(
    "values",
    [
        [2.0**53, 1.0],
        [2.0**53, 1.0, 2.0**-75],
        [2.0**53 + 2, 1.0],
        [2.0**54 - 1, 0.5],
        [1.0, 2.0**-53],
        [1.0, 2.0**-53, 2.0**-75],
        [2.0**89, 2.0**36, 2.0**-75],
        [2.0**32, 2.0**-32],
        [0.1] * 10,
        [2.0**-75] * 3,
    ],
)
def test_ties_go_to_even_and_the_smallest_addend_breaks_them(values: list[float]) -> None:
    assert exact_sum(np.array(values)) == math.fsum(values) == float(sum(map(Fraction, values)))


@given(st.lists(st.floats(min_value=5e-324, max_value=1.0), min_size=1, max_size=20), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_below_the_range_each_addend_is_cut_by_itself_so_that_order_never_matters(
    values: list[float], shuffling: object
) -> None:
    cut = [Fraction(math.floor(Fraction(value) * 2**128), 2**128) for value in values]
    shuffled = list(values)
    shuffling.shuffle(shuffled)  # type: ignore[attr-defined]
    assert exact_sum(np.array(values)) == exact_sum(np.array(shuffled)) == float(sum(cut))


def test_a_hundred_thousand_trades_sum_to_what_fsum_says() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(1, 1000, 100_000) * rng.integers(1, 10_000, 100_000)
    assert exact_sum(values) == math.fsum(values)
