"""Measures equal their definitions; what is known is found, what is not known is not, and what is too good is told."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from models.bootstrap import Blocks
from models.candidate import Candidate, Contest, contest
from models.dataset import Dataset
from models.entrants import entrants
from models.evaluation import BASE_RATE, Evaluation, evaluate, of_symbol, strongest_baseline
from models.leaks import telling_features, too_good
from models.walk_forward import split_at, walk_forward
from schemas.errors import TrainingError
from tests.models.datasets import NS, START, about, dataset, shuffled

BORDER = START + 3_500 * NS
BLOCK = 120 * NS
LOOKS_BACK = "convolution over 8 vectors (ONNX)"
"""It may know more than its row does: here hints about returns that overlap, whose noise it averages."""
CHANCE = 0.999
"""Level at which many intervals at once may be asked to hold chance."""


def judged(market: Dataset, *, level: float = 0.95) -> dict[str, Evaluation]:
    held = contest(market, [split_at(market, BORDER)], entrants(about(market)), lambda *_: None)
    blocks = Blocks.of(held.tested.ts, block_ns=BLOCK, draws=400)
    return {each.name: each for each in evaluate(held, blocks, level=level)}


def told(tested: Dataset, **scores: np.ndarray) -> Contest:
    base = {BASE_RATE: np.full(len(tested), 0.5)}
    return Contest(tested, 0, base | scores, frozenset(base))


def one(tested: Dataset, p: np.ndarray) -> Evaluation:
    return evaluate(told(tested, mine=p), Blocks.of(tested.ts, block_ns=BLOCK, draws=200))[1]


def test_the_measures_are_those_of_scikit_learn_and_of_their_definitions() -> None:
    market = dataset(2_000, hint=1.0)
    p = np.random.default_rng(5).random(len(market))
    found, moved = one(market, p), market.moved
    assert found.log_loss.value == pytest.approx(log_loss(market.label[moved], p[moved]))
    assert found.brier.value == pytest.approx(brier_score_loss(market.label[moved], p[moved]))
    assert found.hit_rate.value == pytest.approx(((p > 0.5) == (market.label == 1))[moved].mean())
    assert found.gain.value == pytest.approx(np.log(2) - found.log_loss.value)
    assert (found.rows, found.moved) == (len(market), int(moved.sum()))
    low, error, rows = -1.0, 0.0, 0
    for high in [*np.quantile(p[moved], np.arange(1, 10) / 10), 2.0]:
        inside = moved & (p > low) & (p <= high)
        error += abs(p[inside].sum() - market.label[inside].sum())
        rows, low = rows + int(inside.sum()), high
    assert rows == found.moved
    assert found.calibration_error.value == pytest.approx(error / rows)
    for each in (found.log_loss, found.gain, found.brier, found.hit_rate, found.information, found.net_bp):
        assert each.low < each.value < each.high


def test_true_probabilities_are_calibrated_and_exaggerated_ones_are_not() -> None:
    market, rng = dataset(6_000, dead=0.0), np.random.default_rng(2)
    p = rng.uniform(0.2, 0.8, len(market))
    drawn = replace(market, label=(rng.random(len(market)) < p).astype(float))
    assert one(drawn, p).calibration_error.low < 0.005
    bold = 1 / (1 + (1 / p - 1) ** 3)
    assert one(drawn, bold).calibration_error.low > 0.1
    assert np.abs(one(drawn, p).reliability.score - one(drawn, p).reliability.ups).max() < 0.05


def test_what_is_there_to_know_is_found_by_every_model_and_by_no_guess() -> None:
    found = judged(dataset(hint=0.5))
    for name in ("logistic regression", "online (River)", "MLP (ONNX)", "LightGBM (ONNX)"):
        assert found[name].beats_base_rate, name
        assert found[name].information.low > 0.2, name
    assert not found["always flat"].beats_base_rate
    assert not found[BASE_RATE].beats_base_rate
    assert list(found)[:4] == ["always flat", BASE_RATE, "last sign", "logistic regression"]


def test_with_labels_shuffled_every_model_is_at_chance() -> None:
    market = shuffled(dataset(hint=2.0))
    found = judged(market, level=CHANCE)
    ups = market.label[market.ts >= BORDER]
    habit = abs(ups[ups != 0.5].mean() - 0.5)
    for name, each in found.items():
        assert not each.beats_base_rate, name
        assert each.hit_rate.low <= 0.5 + habit, name
        assert each.hit_rate.high >= 0.5 - habit, name
        if np.isfinite(each.information.value):
            assert each.information.low < 0.0 < each.information.high, name
    assert too_good(list(found.values())) == []


def test_a_feature_that_is_the_future_label_makes_everything_perfect_and_raises_the_alarm() -> None:
    market = dataset()
    features = market.features.copy()
    features[:, 1] = market.label
    leaking = replace(market, features=features)
    found = judged(leaking)
    for name in ("logistic regression", "online (River)", "MLP (ONNX)", "LightGBM (ONNX)"):
        assert found[name].hit_rate.value > 0.999, name
    assert max(found[name].log_loss.value for name in ("logistic regression", "MLP (ONNX)", "LightGBM (ONNX)")) < 0.1
    alarmed = {alarm.source for alarm in too_good(list(found.values()))}
    assert alarmed == {"logistic regression", "online (River)", "MLP (ONNX)", LOOKS_BACK, "LightGBM (ONNX)"}
    assert [alarm.source for alarm in telling_features(leaking)] == ["feature noise_a"]
    assert "look for the future among the features" in str(telling_features(leaking)[0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_alarm_rings_for_a_leak_of_either_sign_and_not_for_a_good_feature(sign: float) -> None:
    market = dataset(hint=sign * 20.0)
    assert [alarm.source for alarm in telling_features(market)] == ["feature hint"]
    assert telling_features(dataset(hint=sign * 0.6)) == []


def test_the_alarm_is_silent_for_good_models() -> None:
    assert too_good(list(judged(dataset(hint=0.4)).values())) == []


def test_a_model_that_adds_nothing_does_not_beat_the_strongest_baseline() -> None:
    market = dataset(hint=0.5)
    chosen = [each for each in entrants(about(market)) if each.name != LOOKS_BACK]
    held = contest(market, [split_at(market, BORDER)], chosen, lambda *_: None)
    assert strongest_baseline(held) == "logistic regression"
    found = evaluate(held, Blocks.of(held.tested.ts, block_ns=BLOCK, draws=200))
    assert not any(each.beats_baselines for each in found)


def test_what_the_rows_before_add_is_found_by_the_model_that_looks_back() -> None:
    found = judged(dataset(hint=0.5))
    assert found[LOOKS_BACK].beats_baselines
    assert found[LOOKS_BACK].information.low > found["MLP (ONNX)"].information.high


def test_each_test_of_a_walk_forward_is_scored_by_a_model_of_its_own_past() -> None:
    market, seen = dataset(2_000), []

    def fit(past: Dataset) -> object:
        seen.append(len(past))
        return lambda after: np.full(len(after), len(past) / 10_000)

    splits = walk_forward(market, 3)
    held = contest(market, splits, [Candidate("count", fit)], lambda *_: None)  # type: ignore[arg-type]
    assert seen == [len(split.train) for split in splits]
    expected = np.concatenate([np.full(len(split.test), len(split.train) / 10_000) for split in splits])
    assert held.scores["count"].tolist() == expected.tolist()
    assert held.tested.ts.tolist() == market.ts[np.concatenate([split.test for split in splits])].tolist()


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.1])
def test_a_score_that_is_no_probability_is_refused(wrong: float) -> None:
    market = dataset(1_000)
    split = split_at(market, START + 500 * NS)
    broken = Candidate("broken", lambda _: lambda after: np.full(len(after), wrong))
    with pytest.raises(TrainingError, match="broken: expected 1000 scores between 0 and 1"):
        contest(market, [split], [broken], lambda *_: None)
    with pytest.raises(TrainingError, match="at least one split"):
        contest(market, [], [broken], lambda *_: None)


def test_one_symbol_is_judged_on_its_own_rows() -> None:
    market = dataset(1_500, symbols=3)
    p = np.random.default_rng(0).random(len(market))
    mine = of_symbol(told(market, mine=p), 2)
    assert (mine.tested.symbol == 2).all()
    assert mine.scores["mine"].tolist() == p[market.symbol == 2].tolist()


def test_an_evaluation_without_its_reference_or_without_moves_is_refused() -> None:
    market = dataset(1_500)
    blocks = Blocks.of(market.ts, block_ns=BLOCK, draws=100)
    p = np.full(len(market), 0.5)
    with pytest.raises(TrainingError, match="'base rate', which took no part"):
        evaluate(Contest(market, 0, {"mine": p}, frozenset()), blocks)
    still = replace(market, label=np.full(len(market), 0.5))
    with pytest.raises(TrainingError, match="no direction to judge"):
        evaluate(told(still, mine=p), blocks)
