"""The scaler against NumPy, against River's own, and against what breaks River's own."""

import numpy as np
import pandas as pd
import pytest
from river import preprocessing

from models.model import Matrix
from models.scaling import WINSOR, Clip, MarketScaler
from tests.models.rows import CENTRES, NAMES, SCALES, market


def frame(values: Matrix) -> pd.DataFrame:
    return pd.DataFrame(values, columns=list(NAMES[: values.shape[1]]))


def learnt(*batches: Matrix) -> MarketScaler:
    scaler = MarketScaler()
    for batch in batches:
        scaler.learn_many(frame(batch))
    return scaler


def column(*values: float) -> Matrix:
    return np.array(values, dtype=np.float64)[:, np.newaxis]


def test_mean_and_population_variance_are_those_of_the_whole_history() -> None:
    features, _ = market(1000)
    scaler = learnt(features[:300], features[300:301], features[301:])
    assert list(scaler.means.values()) == pytest.approx(features.mean(axis=0), rel=1e-12)
    assert list(scaler.vars.values()) == pytest.approx(features.var(axis=0, ddof=0), rel=1e-11)


def test_complete_rows_give_the_statistics_of_rivers_own_scaler() -> None:
    z = np.random.default_rng(3).normal(size=(900, 4))
    ours, theirs = MarketScaler(), preprocessing.StandardScaler()
    for batch in np.split(z, 3):
        ours.learn_many(frame(batch))
        theirs.learn_many(frame(batch))
    assert ours.counts == theirs.counts
    assert list(ours.means.values()) == pytest.approx(list(theirs.means.values()), abs=1e-14)
    assert list(ours.vars.values()) == pytest.approx(list(theirs.vars.values()), rel=1e-12)
    assert ours.transform_many(frame(z)).to_numpy() == pytest.approx(
        theirs.transform_many(frame(z)).to_numpy(), abs=1e-12
    )


def test_missing_and_infinite_values_are_not_counted() -> None:
    features, _ = market(800, missing=0.3)
    holed = np.where(np.isnan(features), np.inf, features)
    holed[::2] = np.where(np.isnan(features[::2]), np.nan, holed[::2])
    scaler = learnt(holed[:400], holed[400:])
    assert list(scaler.counts.values()) == (~np.isnan(features)).sum(axis=0).tolist()
    assert list(scaler.means.values()) == pytest.approx(np.nanmean(features, axis=0), rel=1e-11)
    assert list(scaler.vars.values()) == pytest.approx(np.nanvar(features, axis=0), rel=1e-11)


def test_a_column_that_is_missing_throughout_leaves_no_trace() -> None:
    scaler = learnt(column(*[np.nan] * 5), column(1.0, 3.0))
    assert (scaler.counts["f0"], scaler.means["f0"], scaler.vars["f0"]) == (2, 2.0, 1.0)


def test_a_large_constant_has_no_variance_where_rivers_own_invents_one() -> None:
    constant = np.full((256, 1), 1_000_000.1)
    theirs = preprocessing.StandardScaler()
    theirs.learn_many(frame(constant))
    assert theirs.vars["f0"] != 0.0  # why this scaler exists
    ours = learnt(constant, constant, constant[:7])
    assert ours.vars["f0"] == 0.0
    assert ours.transform_one({"f0": 5.0}) == {"f0": 0.0}
    assert ours.transform_many(frame(column(5.0, 1e6))).to_numpy().tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("absurd", [1e300, -1e300, 1e13, 1.7e308])
def test_an_impossible_value_leaves_the_statistics_as_if_it_were_missing(absurd: float) -> None:
    assert learnt(column(1.0, 2.0, absurd, 4.0)).__dict__ == learnt(column(1.0, 2.0, np.nan, 4.0)).__dict__


def test_a_wild_print_in_the_first_batch_is_cut_by_the_batchs_own_spread() -> None:
    z = np.random.default_rng(0).normal(size=(256, 1))
    wild = z.copy()
    wild[17] = 1e6
    assert learnt(wild).vars["f0"] ** 0.5 < 2.0 * z.std()


def test_a_wild_print_later_moves_the_scale_by_no_more_than_its_cut() -> None:
    z = np.random.default_rng(0).normal(size=(2560, 1))
    scaler = learnt(z)
    before = scaler.vars["f0"]
    scaler.learn_many(frame(column(1e9)))
    assert scaler.vars["f0"] <= before * (1.0 + WINSOR**2 / 2560)


def test_a_scale_that_grows_for_good_is_followed() -> None:
    rng = np.random.default_rng(0)
    scaler = learnt(rng.normal(size=(256, 1)) * 1e-9)
    for _ in range(60):
        scaler.learn_many(frame(rng.normal(size=(256, 1))))
    assert 0.5 < scaler.vars["f0"] ** 0.5 < 2.0


def test_one_row_is_scaled_as_many_are() -> None:
    features, _ = market(400, missing=0.1)
    scaler, clip = learnt(features), Clip(3.0)
    probe = np.concatenate([features[:5], [CENTRES + 1e9 * SCALES], np.full((1, 32), -np.inf), np.full((1, 32), 1e300)])
    many = clip.transform_many(scaler.transform_many(frame(probe))).to_numpy()
    for row, values in zip(many, probe, strict=True):
        one = clip.transform_one(scaler.transform_one(dict(zip(NAMES, values.tolist(), strict=True))))
        assert list(one.values()) == pytest.approx(row, abs=1e-12)
    assert many[6].tolist() == [0.0] * 32
    assert np.abs(many).max() == 3.0
