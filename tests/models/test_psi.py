"""The population stability index against its definition, its bins, and the reference made of them."""

import math

import msgspec
import numpy as np
import pytest
from scipy.stats import chi2, false_discovery_control

from models.dataset import Dataset
from models.drift_reference import Quiet, Reference, Yardstick, quiet_of, reference_of
from models.multiple_tests import holm
from models.psi import Bins, indices, stability_index
from schemas.errors import ModelError, TrainingError
from tests.models.quiet_market import MINUTE, NAMES, WINDOW, Day, day


def naive_index(expected: list[float], observed: list[float]) -> float:
    return sum((o - e) * math.log(o / e) for e, o in zip(expected, observed, strict=True))


def test_the_index_is_its_definition() -> None:
    expected, observed = [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]
    found = stability_index(np.array(expected), np.array(observed))
    assert float(found) == pytest.approx(naive_index(expected, observed))


def test_equal_shares_have_index_zero_and_swapping_them_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.ones(8), 20), rng.dirichlet(np.ones(8), 20)
    assert (stability_index(a, a) == 0).all()
    np.testing.assert_allclose(stability_index(a, b), stability_index(b, a))
    assert (stability_index(a, b) > 0).all()


def test_bins_hold_equal_counts_and_missing_values_have_their_own() -> None:
    values = np.concatenate([np.arange(100.0), [np.nan] * 7, [np.inf]])[:, None]
    symbol = np.zeros(len(values), np.int64)
    bins = Bins.of(values, symbol, 1, 10)
    assert bins.counts(values, symbol)[0, 0].tolist() == [10] * 10 + [8]


def test_values_that_repeat_share_a_bin_and_a_constant_has_two() -> None:
    values = np.column_stack([np.repeat([0.0, 1.0], [70, 30]), np.full(100, 5.0)])
    symbol = np.zeros(100, np.int64)
    bins = Bins.of(values, symbol, 1, 4)
    assert bins.live.sum(axis=2).tolist() == [[4, 3]]  # below 0, 0 to 1, above 1, missing; up to 5, above, missing
    assert bins.counts(values, symbol)[0, 0, :3].tolist() == [70, 30, 0]
    moved = bins.counts(values + 1e-9, symbol)
    assert moved[0, 1, :2].tolist() == [0, 100]


def test_counts_equal_a_count_of_every_value_by_hand() -> None:
    rng = np.random.default_rng(3)
    features, symbol = rng.integers(0, 9, (300, 2)).astype(float), rng.integers(0, 3, 300)
    bins = Bins.of(features, symbol, 3, 5)
    expected = np.zeros(bins.shape, np.int64)
    for row, s in zip(features, symbol, strict=True):
        for f, value in enumerate(row):
            expected[s, f, sum(value > edge for edge in bins.edges[s, f])] += 1
    np.testing.assert_array_equal(bins.counts(features, symbol), expected)


def test_a_symbol_that_falls_silent_is_no_drift_of_all_together() -> None:
    rng = np.random.default_rng(4)
    features = np.concatenate([rng.normal(0, 1, (5000, 1)), rng.normal(50, 9, (5000, 1))])
    symbol = np.repeat([0, 1], 5000)
    bins = Bins.of(features, symbol, 2, 10)
    reference = bins.counts(features, symbol)
    only_first = bins.counts(rng.normal(0, 1, (2000, 1)), np.zeros(2000, np.int64))
    assert indices(only_first, reference, bins.live)[-1, 0] < 0.02


def test_independent_rows_have_the_index_that_theory_says() -> None:
    """n · PSI of n independent rows is chi-square with bins − 1 degrees, against a reference that is much larger."""
    rng = np.random.default_rng(5)
    reference = rng.normal(size=(200_000, 1))
    bins = Bins.of(reference, np.zeros(200_000, np.int64), 1, 10)
    total, zeros = bins.counts(reference, np.zeros(200_000, np.int64)), np.zeros(1000, np.int64)
    live = bins.live.copy()
    live[..., -1] = False  # nothing is missing: the bin would add a constant
    found = np.array(
        [1000 * indices(bins.counts(rng.normal(size=(1000, 1)), zeros), total, live)[0, 0] for _ in range(400)]
    )
    assert found.mean() == pytest.approx(9, rel=0.1)
    assert (found > chi2.ppf(0.95, 9)).mean() == pytest.approx(0.05, abs=0.035)


def test_holm_rejects_what_its_definition_rejects() -> None:
    rng = np.random.default_rng(6)
    p = rng.random(30) ** 4
    p[3] = np.nan
    told = np.sort(p[~np.isnan(p)])
    steps = [(len(told) - i) * each for i, each in enumerate(told)]
    expected = [min(1.0, max(steps[: i + 1])) for i in range(len(told))]
    adjusted = holm(p)
    assert np.isnan(adjusted[3])
    np.testing.assert_allclose(np.sort(adjusted[~np.isnan(adjusted)]), np.sort(expected))
    assert (adjusted[~np.isnan(p)] >= false_discovery_control(p[~np.isnan(p)])).all(), (
        "stricter than Benjamini-Hochberg"
    )


@pytest.fixture(scope="module")
def quiet() -> Day:
    return day(1)


def test_a_reference_survives_being_saved(quiet: Day) -> None:
    reference = reference_of(quiet.dataset(), WINDOW, scores={"score": quiet.score})
    assert reference.features == (*NAMES, "score")
    assert Reference.decode(reference.encode()) == reference
    assert len(reference.encode()) < 4_000 * len(reference.symbols)


def test_a_clock_is_left_out_of_the_reference(quiet: Day) -> None:
    assert reference_of(quiet.dataset(), WINDOW, without={"flow"}).features == ("return", "imbalance", "volatility")


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b"\xff\xfe"])
def test_what_is_no_reference_is_refused(raw: bytes) -> None:
    with pytest.raises(ModelError, match="expected the drift reference"):
        Reference.decode(raw)


def test_a_reference_with_other_counts_is_refused(quiet: Day) -> None:
    reference = reference_of(quiet.dataset(), WINDOW)
    with pytest.raises(ModelError, match="found other counts"):
        Reference.decode(msgspec.structs.replace(reference, features=("one",)).encode())


def test_too_short_a_stretch_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(TrainingError, match=r"needs 12 windows of 900 s.*found 4"):
        reference_of(day(1, minutes=60).dataset(), WINDOW)


def test_a_symbol_with_too_few_windows_is_not_watched(quiet: Day) -> None:
    rare = quiet.symbol == 2
    keep = ~rare | (quiet.ts < 60 * MINUTE)
    assert reference_of(quiet.dataset().taken(keep), WINDOW).symbols == ("S000", "S001")


def test_a_thin_window_is_not_judged(quiet: Day) -> None:
    yardstick = Yardstick.of(reference_of(quiet.dataset(), WINDOW))
    rows = (quiet.ts < WINDOW) & ((quiet.symbol != 1) | (quiet.ts < WINDOW // 3))
    index = yardstick.index(yardstick.bins.counts(quiet.features[rows], quiet.symbol[rows]))
    assert np.isnan(index).all(axis=1).tolist() == [False, True, False, False]


def test_index_at_is_the_inverse_of_the_p_value(quiet: Day) -> None:
    yardstick = Yardstick.of(reference_of(quiet.dataset(), WINDOW))
    for p in (0.1, 1e-6, 1e-12):
        index = np.full(yardstick.quiet.shape[:2], yardstick.index_at(p, 1, 2))
        assert yardstick.p_value(index)[1, 2] == pytest.approx(p, rel=1e-6)


def test_windows_that_resemble_their_neighbours_count_for_fewer() -> None:
    rng = np.random.default_rng(7)
    free = rng.chisquare(9, 96)
    slow = np.repeat(rng.chisquare(9, 12), 8)
    assert quiet_of(slow, 9, 1.0).behind < quiet_of(free, 9, 1.0).behind / 3


def test_a_constant_feature_is_measured_by_what_chance_alone_would_do() -> None:
    assert quiet_of(np.zeros(50), 2, 100.0) == Quiet(0.02, 2 / 3, 2 / 3 * 50)


def test_quiet_windows_are_unusual_no_more_often_than_they_may(quiet: Day) -> None:
    """p at or below 0.01 and 0.001 in at most so large a share of the windows of quiet days after the reference."""
    dataset = quiet.dataset()
    yardstick = Yardstick.of(reference_of(dataset, WINDOW))
    found = []
    for number in range(1, 4):
        later: Dataset = day(1, day_number=number).dataset()
        window = later.ts // WINDOW
        for each in np.unique(window):
            counts = yardstick.bins.counts(later.features[window == each], later.symbol[window == each])
            found.append(yardstick.p_value(yardstick.index(counts)))
    p = np.array(found)
    assert p.shape == (3 * 96, 4, 4)
    for level in (0.01, 0.001):
        assert (p <= level).sum() <= level * p.size
