"""Nobody fools themselves: what is not known yet cannot be scored with, live; and where it could be, the canary sings."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.baselines import logistic
from models.entrants import boosting, mlp
from models.manifest import About, Label, TrainedOn
from processors.batch import NS, Column, EventBatch, Integers, Matrix
from processors.indicators.book import BookImbalance, BookImbalanceEwm, Spread
from processors.indicators.returns import ReturnEwm
from processors.labels import Labels, Matured
from processors.scores import Model
from processors.scoring import Scoring
from processors.shard import ShardOutput
from schemas.control import ModelChange, body_of
from schemas.events import Control, Quote
from tests.streams.leak_canary import (
    HORIZON_NS,
    Computed,
    NewestTold,
    at_chance,
    cheating,
    fed,
    future,
    matrix,
    online,
    outcomes,
    quotes,
    unknowable,
)

MARKET = unknowable(12_000)


# the online model with a feature that is, or would be, the future label


def test_a_feature_equal_to_the_future_label_scores_at_chance_when_it_is_fed_live() -> None:
    features = {"future": Computed(future)}
    at_once = outcomes(fed(online(features), MARKET, len(MARKET))).hit_rate()
    assert at_once.low > 0.9, "where the batch holds the future the feature is perfect"
    live = outcomes(fed(online(features), MARKET, 20)).hit_rate()
    assert at_chance(live), live


def feeding(told: NewestTold, early_ns: int, truth: Sequence[ShardOutput]) -> Callable[[ShardOutput], None]:
    """Tells the feature every label that is known, or would be so much earlier, when a stretch has been folded."""
    all_ = [
        (int(m.stamps[k, 0]), int(m.row[k]), float(m.label[k]))
        for m in (o.matured for o in truth)
        for k in range(len(m))
    ]
    waiting = sorted(all_, reverse=True)

    def heard(output: ShardOutput) -> None:
        now = int(output.batch.now[-1])
        while waiting and waiting[-1][0] + HORIZON_NS - early_ns < now:
            _, row, label = waiting.pop()
            told.values[row] = label

    return heard


def newest_told(early_ns: int) -> Any:
    truth = fed(cheating(), MARKET, len(MARKET))
    told = NewestTold()
    features = {"told": told}
    live = fed(online(features), MARKET, 20, feeding(told, early_ns, truth))
    return outcomes(live).hit_rate()


def test_the_newest_label_that_is_known_tells_nothing_and_one_that_is_told_early_gives_itself_away() -> None:
    known = newest_told(0)
    assert at_chance(known), known
    early = newest_told(3 * HORIZON_NS // 4)
    assert early.low > 0.55, early


# a learner that cheats wherever a lesson comes before its horizon has passed


def cheated(size: int) -> Any:
    return outcomes(fed(cheating(), MARKET, size)).hit_rate()


@pytest.mark.parametrize("size", [7, 1_000, len(MARKET)])
def test_a_learner_that_would_cheat_is_at_chance_however_the_log_is_cut(size: int) -> None:
    found = cheated(size)
    assert at_chance(found), found


def learnt_first(self: Scoring, matured: Matured) -> Any:
    """Everything that matures in a stretch is learnt before any of its rows is scored."""
    return [replace(step, before=0) for step in LESSONS(self, matured)]


def told_after(share: float) -> Callable[..., Matured]:
    """Labels are told when only a share of their horizon has passed."""

    def fold(self: Labels, events: Any, placed: Any, batch: EventBatch, offsets: Integers, *rest: Any) -> Matured:
        matured = FOLD(self, events, placed, batch, offsets, *rest)
        due = matured.stamps[:, 0] + round(share * self.rule.horizon_ns)
        return replace(matured, before=np.searchsorted(batch.now, due, side="right"))

    return fold


LESSONS, FOLD = Scoring._lessons, Labels.fold


@pytest.mark.parametrize(
    ("place", "name", "broken"),
    [
        (Scoring, "_lessons", learnt_first), (Labels, "fold", told_after(0.0)), (Labels, "fold", told_after(0.5)),
        (Labels, "fold", told_after(0.8)),
    ],
    ids=["learnt before the stretch is scored", "told at once", "told after half the horizon", "told after 80% of it"],
)  # fmt: skip
def test_a_fold_that_hands_out_lessons_early_is_caught(
    monkeypatch: pytest.MonkeyPatch, place: type, name: str, broken: Any
) -> None:
    monkeypatch.setattr(place, name, broken)
    found = cheated(len(MARKET))
    assert found.low > 0.5, found
    assert not at_chance(found)


# every model, trained on the fold's own rows, on a market that can be known and on the same one shuffled

KNOWABLE = {
    "book_imbalance": BookImbalance(), "book_imbalance_ewm_5s": BookImbalanceEwm(half_life_s=5),
    "return_ewm_1s": ReturnEwm(half_life_s=1), "spread": Spread(),
}  # fmt: skip
ABOUT = About(
    features=tuple(KNOWABLE), features_id="canary", label=Label(horizon_s=HORIZON_NS / NS), created_by="tests",
    trained_on=TrainedOn(log_id="test", spans=()),
)  # fmt: skip
PEOPLE = ("logistic", "mlp", "lightgbm")


def leaning(n: int, *, shuffled: bool) -> list[Quote]:
    """The book leans one way for seconds and the price follows; shuffled, the very same steps come in another order."""
    rng = np.random.default_rng(3)
    lean = np.repeat(rng.uniform(-0.9, 0.9, n // 80 + 1), 80)[:n]
    steps = rng.normal(0.0, 1e-4, n) + 4e-5 * lean
    return quotes(rng.permutation(steps) if shuffled else steps, lean)


class Fitted:
    """A candidate of the evaluation as a model of the fold."""

    def __init__(self, name: str, scorer: Callable[[Matrix], Column]) -> None:
        self.id, self.score = name, scorer


def trained(past: Any) -> dict[str, Model]:
    def scored(scorer: Any) -> Callable[[Matrix], Column]:
        def score(features: Matrix) -> Column:
            n = len(features)
            none = np.zeros(n)
            p: Column = scorer(type(past)(features, none, none, np.zeros(n, np.int64), np.zeros(n, np.int64), past.symbols, past.names, past.horizon_ns))  # fmt: skip # noqa: E501
            return p

        return score

    made = {"logistic": logistic, "mlp": mlp(ABOUT).fit, "lightgbm": boosting(ABOUT).fit}
    return {name: Fitted(name, scored(fit(past))) for name, fit in made.items()}


def challenge(name: str, at: int) -> Control:
    change = ModelChange(action="challenge", model=name)
    return Control(topic="models", id=name, ts_event=at, ts_ingest=at, body=body_of(change))


@pytest.fixture(scope="module", params=[False, True], ids=["as it was", "shuffled"])
def judged(request: pytest.FixtureRequest) -> tuple[bool, dict[str, Any]]:
    """Every model: what it is trained on was over before the half of the log on which it scores, live."""
    market = leaning(40_000, shuffled=request.param)
    half = len(market) // 2
    on = online(KNOWABLE, lambda name: models[name])
    models = trained(matrix(fed(on, market[:half], 2_000), tuple(KNOWABLE)))
    at = market[half].ts_event
    after = [*(challenge(name, at) for name in PEOPLE), *market[half:]]
    told = outcomes(fed(on, after, 50, first=half))
    told = replace(told, ts=told.ts[told.ts >= at], label=told.label[told.ts >= at], scores=told.scores[told.ts >= at])
    found = {name: told.hit_rate(2 + place) for place, name in enumerate(PEOPLE)}
    return request.param, {"online": told.hit_rate(0), **found}


@pytest.mark.parametrize("name", ["online", *PEOPLE])
def test_with_labels_shuffled_every_model_is_at_chance_live_and_without_it_none_is(
    judged: tuple[bool, dict[str, Any]], name: str
) -> None:
    shuffled, found = judged
    assert at_chance(found[name]) if shuffled else found[name].low > 0.6, found[name]
