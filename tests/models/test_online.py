"""The online model: equal to River's own answers, indifferent to batches, and impossible to poison."""

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.model import Column, Learner, Matrix
from models.online import DIGEST, OnlineModel, OnlineSettings, _digest
from schemas.errors import ModelError
from tests.models.rows import NAMES, best, log_loss, market

STEP = 64


def taught(steps: int, *, missing: float = 0.05, seed: int = 1) -> OnlineModel:
    model = OnlineModel(NAMES)
    teach(model, steps, missing=missing, seed=seed)
    return model


def teach(model: OnlineModel, steps: int, *, missing: float = 0.05, seed: int = 1) -> None:
    features, labels = market(steps * STEP, seed=seed, missing=missing)
    for start in range(0, len(labels), STEP):
        model.learn(features[start : start + STEP], labels[start : start + STEP])


def rivers(model: OnlineModel, features: Matrix) -> Column:
    answer: Column = model.pipeline.predict_proba_many(pd.DataFrame(features, columns=list(NAMES)))[True].to_numpy()
    return answer


TAUGHT = taught(120)


def test_it_is_a_learner() -> None:
    model: Learner = OnlineModel(NAMES)
    assert model.name == "online"


def test_before_anything_was_learnt_every_score_is_one_half() -> None:
    features, _ = market(10, missing=0.3)
    assert OnlineModel(NAMES).score(features).tolist() == [0.5] * 10


def test_scores_equal_rivers_own_for_many_rows_and_for_one() -> None:
    features, _ = market(3000, seed=5, missing=0.1)
    features[0], features[1], features[2], features[3, ::2] = np.nan, np.inf, 1e300, -np.inf
    scores = TAUGHT.score(features)
    assert np.abs(scores - rivers(TAUGHT, features)).max() < 1e-12
    for row in range(50):
        one = TAUGHT.pipeline.predict_proba_one(dict(zip(NAMES, features[row].tolist(), strict=True)))
        assert scores[row] == pytest.approx(one[True], abs=1e-12)


def test_a_step_is_the_gradient_step_of_logistic_regression() -> None:
    features, labels = market(STEP, seed=8)
    model, rates = OnlineModel(NAMES), OnlineSettings()
    weights, intercept = np.zeros(len(NAMES)), 0.0
    for _ in range(3):  # the same rows again leave mean and variance as they are
        model.learn(features, labels)
        z = np.clip((features - features.mean(axis=0)) / features.std(axis=0), -8.0, 8.0)
        error = 1.0 / (1.0 + np.exp(-(z @ weights + intercept))) - labels
        weights = weights - rates.learning_rate * (error @ z / STEP + rates.l2 * weights)
        intercept -= rates.intercept_rate * error.mean()
    assert list(model.pipeline["LogisticRegression"].weights.values()) == pytest.approx(weights, abs=1e-12)
    assert model.score(features) == pytest.approx(1.0 / (1.0 + np.exp(-(z @ weights + intercept))), abs=1e-12)


def test_it_learns_what_there_is_to_learn() -> None:
    features, labels = market(4000, seed=77)
    assert log_loss(taught(400, missing=0.0).score(features), labels) < log_loss(best(features), labels) + 0.02


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_a_score_has_the_same_bits_whatever_batch_it_comes_in(cuts: list[int]) -> None:
    features, _ = market(700, seed=6, missing=0.1)
    whole = TAUGHT.score(features)
    parts = [TAUGHT.score(part) for part in np.split(features, sorted(cuts))]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_score_has_the_same_bits_alone_reversed_and_from_any_layout() -> None:
    features, _ = market(600, seed=6, missing=0.1)
    whole = TAUGHT.score(features)
    assert b"".join(TAUGHT.score(row[np.newaxis]).tobytes() for row in features) == whole.tobytes()
    assert TAUGHT.score(features[::-1])[::-1].tobytes() == whole.tobytes()
    assert TAUGHT.score(np.asfortranarray(features)).tobytes() == whole.tobytes()


def test_an_empty_batch_has_no_scores() -> None:
    assert TAUGHT.score(np.empty((0, len(NAMES)))).shape == (0,)


def test_learning_gives_the_same_bits_wherever_the_rows_lie_in_memory() -> None:
    features, labels = market(20 * STEP, seed=3)
    shifted = np.empty(features.size + 1)[1:].reshape(features.shape)
    shifted[:] = features
    models = [OnlineModel(NAMES) for _ in range(3)]
    for model, rows in zip(models, (features, shifted, np.asfortranarray(features)), strict=True):
        for start in range(0, len(labels), STEP):
            model.learn(rows[start : start + STEP], labels[start : start + STEP])
    assert len({model.snapshot() for model in models}) == 1


@pytest.mark.parametrize("before", [0, 1, 2, 17])
def test_restored_and_taught_on_it_has_the_bits_of_never_having_stopped(before: int) -> None:
    features, _ = market(100, seed=9)
    steady, model = taught(before), taught(before)
    stopped = OnlineModel.restore(model.snapshot(), NAMES)
    assert stopped.score(features).tobytes() == steady.score(features).tobytes()
    for seed in range(20):
        teach(steady, 1, seed=seed)
        teach(stopped, 1, seed=seed)
        stopped = OnlineModel.restore(stopped.snapshot(), NAMES)
    assert stopped.snapshot() == steady.snapshot()
    assert stopped.score(features).tobytes() == steady.score(features).tobytes()
    assert (stopped.steps, stopped.rows) == (before + 20, (before + 20) * STEP)


def test_a_snapshot_is_small_and_the_same_state_gives_the_same_bytes() -> None:
    assert taught(5).snapshot() == taught(5).snapshot()
    assert len(TAUGHT.snapshot()) < 2048


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e300, -1e300, 1.7e308, 5e-324, 1e12])
def test_no_feature_can_make_a_weight_or_a_score_other_than_finite(poison: float) -> None:
    features, labels = market(6 * STEP, seed=4)
    model = OnlineModel(NAMES)
    for step, start in enumerate(range(0, len(labels), STEP)):
        rows = features[start : start + STEP].copy()
        if step % 2 == 0:
            rows[step], rows[:, step] = poison, poison
        model.learn(rows, labels[start : start + STEP])
        assert np.isfinite(list(model.pipeline["LogisticRegression"].weights.values())).all()
        scores = model.score(np.concatenate([rows, np.full((1, len(NAMES)), poison)]))
        assert ((scores >= 0.0) & (scores <= 1.0)).all()


def test_one_absurd_row_costs_next_to_nothing_in_what_is_learnt_afterwards() -> None:
    features, labels = market(4000, seed=77)
    clean, hit = taught(200, missing=0.0), OnlineModel(NAMES)
    teach(hit, 100, missing=0.0)
    hit.learn(np.full((1, len(NAMES)), 1e300), np.array([1.0]))
    teach(hit, 100, missing=0.0, seed=2)
    assert log_loss(hit.score(features), labels) < log_loss(clean.score(features), labels) + 0.02


def test_labels_that_contradict_for_long_leave_it_finite() -> None:
    model = OnlineModel(NAMES, OnlineSettings(learning_rate=50.0, intercept_rate=50.0))
    features, labels = market(STEP, seed=4)
    for step in range(200):
        model.learn(features, labels if step % 2 else 1.0 - labels)
    assert np.isfinite(model.score(features)).all()


@pytest.mark.parametrize("label", [np.nan, np.inf, -np.inf, 0.5, -1.0, 2.0])
def test_a_label_other_than_zero_or_one_is_refused_and_nothing_is_learnt(label: float) -> None:
    model = taught(3)
    before = model.snapshot()
    features, labels = market(STEP)
    labels[7] = label
    with pytest.raises(ModelError, match=r"row 7 of the step has"):
        model.learn(features, labels)
    assert model.snapshot() == before


def test_rows_of_another_shape_are_refused() -> None:
    features, labels = market(STEP)
    with pytest.raises(ModelError, match=r"rows of 32 features, got shape \(64, 31\)"):
        TAUGHT.score(features[:, :31])
    with pytest.raises(ModelError, match="got shape"):
        TAUGHT.score(features[0])
    with pytest.raises(ModelError, match="one label a row"):
        TAUGHT.learn(features, labels[:5])
    with pytest.raises(ModelError, match="at least one row"):
        TAUGHT.learn(features[:0], labels[:0])
    with pytest.raises(ModelError, match="distinct"):
        OnlineModel(("a", "b", "a"))


def test_the_id_names_the_configuration_and_not_the_state() -> None:
    assert OnlineModel(NAMES).id == TAUGHT.id
    assert TAUGHT.id.startswith("online-")
    others = {OnlineModel(NAMES[::-1]).id, OnlineModel(NAMES, OnlineSettings(learning_rate=0.01)).id}
    assert len(others | {TAUGHT.id}) == 3


def test_a_torn_or_altered_snapshot_is_refused() -> None:
    snapshot = TAUGHT.snapshot()
    for broken in (b"", snapshot[:-1], snapshot[:10], snapshot + b"x", snapshot[:200] + b"\x55" + snapshot[201:]):
        with pytest.raises(ModelError, match="torn or altered"):
            OnlineModel.restore(broken, NAMES)


def test_a_snapshot_of_other_features_settings_or_river_is_refused() -> None:
    snapshot = TAUGHT.snapshot()
    with pytest.raises(ModelError, match="differ at column 31: one list ends"):
        OnlineModel.restore(snapshot, NAMES[:31])
    with pytest.raises(ModelError, match="column 0: 'f0' there, 'f31' here"):
        OnlineModel.restore(snapshot, NAMES[::-1])
    with pytest.raises(ModelError, match="other settings"):
        OnlineModel.restore(snapshot, NAMES, OnlineSettings(l2=0.5))
    for field, value, message in (
        (2, "0.22.0", "River 0.22.0"),
        (0, 7, "format 7"),
        (8, b"12345678", "1 values where 32"),
        (8, (-np.ones(len(NAMES), np.int64)).tobytes(), "a count or a variance below zero"),
        (10, (-np.ones(len(NAMES))).tobytes(), "a count or a variance below zero"),
        (10, np.full(len(NAMES), np.nan).tobytes(), "a count or a variance below zero"),
        (4, 2**63, "not of format 1"),
        (4, -1, "not of format 1"),
    ):
        state = msgspec.msgpack.decode(snapshot[DIGEST:])
        state[field] = value
        payload = msgspec.msgpack.encode(state)
        with pytest.raises(ModelError, match=message):
            OnlineModel.restore(_digest(payload) + payload, NAMES)
    garbage = msgspec.msgpack.encode({"no": "state"})
    with pytest.raises(ModelError, match="not of format 1"):
        OnlineModel.restore(_digest(garbage) + garbage, NAMES)
