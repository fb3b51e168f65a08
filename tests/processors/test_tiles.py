import numpy as np
import pytest

from processors.batch import NS, Column
from processors.tiles import CURRENT, TiledWindow, decaying, highest, open_tile, tile_ended, total, warm, window
from schemas.errors import IndicatorError


def add(to: TiledWindow, amounts: dict[float, float]) -> Column:
    """What the window of one symbol holds after each amount (at second: amount); NaN until warm."""
    held = []
    for at_s, amount in amounts.items():
        now = round(at_s * NS)
        if tile_ended(to.clock, 0, now):
            open_tile(to.clock, to.tiles, to.weight, to.width_ns, 0, now)
        to.tiles[0, 0, CURRENT] += amount
        held.append(total(to.tiles, 0, 0) if warm(to.clock, 0, now) else np.nan)
    return np.array(held)


def test_a_window_is_warm_when_its_first_tile_has_left() -> None:
    held = add(window(1, window_s=60, sums=1), {0.9: 1.0, 59.9: 2.0, 60.0: 4.0})
    np.testing.assert_array_equal(held, [np.nan, np.nan, 6.0])


def test_tiles_are_aligned_to_the_epoch_and_not_to_the_first_row() -> None:
    held = add(window(1, window_s=60, sums=1), {0.9: 1.0, 1.0: 2.0, 60.9: 4.0, 61.0: 8.0})
    np.testing.assert_array_equal(held, [np.nan, np.nan, 6.0, 12.0])


def test_nothing_is_subtracted_so_an_absurd_amount_leaves_no_rounding_behind() -> None:
    held = add(window(1, window_s=60, sums=1), {0: 0.1, 61: 0.1, 62: 1e30, 70: 0.2, 122: 0.3})
    assert held[-1] == 0.2 + 0.3


def test_a_silence_longer_than_the_window_empties_it() -> None:
    assert add(window(1, window_s=60, sums=1), {0: 1.0, 59: 1.0, 10_000: 5.0})[-1] == 5.0


@pytest.mark.parametrize("gap_s", [1, 2, 46, 47, 48, 49, 500])
def test_an_amount_counts_half_after_every_half_life_and_nothing_after_six(gap_s: int) -> None:
    held = add(decaying(1, half_life_s=8, sums=1), {0: 0.0, 100: 1.0, 100 + gap_s: 0.0})
    assert held[-1] == (0.5 ** (gap_s / 8) if gap_s < 48 else 0.0)


def test_weights_do_not_depend_on_how_often_one_looks() -> None:
    seldom = add(decaying(1, half_life_s=8, sums=1), {0: 0.0, 100: 0.7, 103: 0.1, 131: 0.0})
    often = add(decaying(1, half_life_s=8, sums=1), {0: 0.0, 100: 0.7, 103: 0.1, **dict.fromkeys(range(104, 132), 0.0)})
    assert seldom[-1] == often[-1]


@pytest.mark.parametrize("wrong", [0.0, -3.0, float("nan"), float("inf"), 1e-12])
def test_a_window_without_length_is_refused(wrong: float) -> None:
    with pytest.raises(IndicatorError):
        window(1, window_s=wrong, sums=1)
    with pytest.raises(IndicatorError):
        decaying(1, half_life_s=wrong, sums=1)
    with pytest.raises(IndicatorError):
        highest(1, window_s=wrong)
