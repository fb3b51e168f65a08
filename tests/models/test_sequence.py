"""Windows of feature vectors against a plain loop; and that a model which looks back finds what only looking back shows."""

import numpy as np
import pytest

from models.dataset import Dataset
from models.entrants import convolution, mlp
from models.manifest import About, Label, TrainedOn
from models.sequence import WINDOW, windowed, windows
from models.training import TrainingSettings

ROWS = 3_000


def dataset(rng: np.random.Generator, rows: int = ROWS) -> Dataset:
    """Three symbols in turn as it comes; up where the first feature of the symbol's row before was above 0."""
    symbol = rng.integers(0, 3, rows)
    features = rng.normal(size=(rows, 4))
    label = np.zeros(rows)
    before = np.zeros(3)
    for row in range(rows):
        label[row] = float(before[symbol[row]] > 0)
        before[symbol[row]] = features[row, 0]
    features[rng.random((rows, 4)) < 0.02] = np.nan
    return Dataset(
        features=features, label=label, returns=label - 0.5, ts=np.arange(rows, dtype=np.int64) * 10**9,
        symbol=symbol, symbols=("A", "B", "C"), names=("a", "b", "c", "d"), horizon_ns=10**9,
    )  # fmt: skip


def about(data: Dataset) -> About:
    return About(
        name="m", features=tuple(data.names), features_id="f", trained_on=TrainedOn(log_id="l", spans=()),
        label=Label(horizon_s=1.0), created_by="test",
    )  # fmt: skip


@pytest.mark.parametrize("width", [1, 2, 8])
def test_a_window_is_the_newest_vectors_of_the_symbol_and_missing_before_the_first(width: int) -> None:
    data = dataset(np.random.default_rng(7), 400)
    found = windows(data, width)
    for row in range(400):
        seen = [at for at in range(row + 1) if data.symbol[at] == data.symbol[row]][::-1][:width]
        wanted = np.full((width, 4), np.nan)
        wanted[: len(seen)] = data.features[seen]
        np.testing.assert_array_equal(found[row], wanted.ravel())


def test_nothing_after_a_row_is_in_its_window() -> None:
    data = dataset(np.random.default_rng(8), 300)
    before = windows(data)
    data.features[200:] = 99.0
    np.testing.assert_array_equal(windows(data)[:200], before[:200])


def test_the_names_say_how_far_back() -> None:
    names = windowed(about(dataset(np.random.default_rng(9), 5))).features
    assert (len(names), names[0], names[4], names[-1]) == (
        4 * WINDOW,
        "a[0]",
        "a[-1]",
        f"d[-{WINDOW - 1}]".replace("--", "-"),
    )


def test_what_only_the_row_before_shows_is_found_by_the_one_that_looks_back() -> None:
    rng = np.random.default_rng(20131007)
    past, after = dataset(rng), dataset(rng)
    settings = TrainingSettings(epochs=15)
    hits = [
        float(((entrant(about(past), settings=settings).fit(past)(after) > 0.5) == (after.label > 0.5)).mean())
        for entrant in (convolution, mlp)
    ]
    assert hits[0] > 0.8
    assert 0.4 < hits[1] < 0.6
