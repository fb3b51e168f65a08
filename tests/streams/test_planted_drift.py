"""Planted drift through the real fold, training and scoring: one order, one challenger, and a promotion only where it wins."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from infra.drift.reference import CLOCKS
from infra.nightly.training import train_on
from models.dataset import Dataset
from models.drift import DriftRules
from models.drift_reference import reference_of
from models.input_drift import SCORE
from models.manifest import About, Label, Span, TrainedOn
from models.onnx import OnnxModel
from models.promotion import TrialRules
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.drift import DriftEvent, DriftSignal, Fall, RetrainOrder, Verdict
from streams.drift_watch import DriftWatch, Watched, WatchRules
from tests.streams.drift_market import HORIZON_NS, NS, Floor, Market

TRIAL = TrialRules(least_labels=1_000, longest_ns=6 * 3600 * NS)
RULES = WatchRules(drift=DriftRules(least_labels=6), trial=TRIAL)
WINDOW_NS = 900 * NS
QUIET_HOURS = 24
DAY_S = 86_400
TRAIN_ON_S = 2 * 3600
ABOUT = About(
    features=FEATURE_NAMES, features_id=FEATURES_ID, label=Label(horizon_s=HORIZON_NS / NS), created_by="tests",
    trained_on=TrainedOn(log_id="log", spans=(Span(partition=0, start=0, end=1),)),
)  # fmt: skip
E = TypeVar("E", bound=DriftEvent)


@dataclass
class First:
    """The champion, trained and referenced on a quiet day; every model that there is, by its id."""

    champion: OnnxModel
    watched: Watched
    folder: Path
    models: dict[str, OnnxModel] = field(default_factory=dict)

    def trained(self, dataset: Dataset) -> OnnxModel:
        """The real training of the nightly, kept and loaded."""
        made = OnnxModel.load(train_on(dataset, ABOUT, 0).save(self.folder))
        self.models[made.id] = made
        return made


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    floor = Floor()
    floor.fold(Market(1).minutes(60 * QUIET_HOURS))
    dataset, folder = floor.dataset(), tmp_path_factory.mktemp("models")
    made = train_on(dataset, ABOUT, 0)
    champion = OnnxModel.load(made.save(folder))
    assert made.manifest.metrics is not None
    scores = {SCORE: champion.score(dataset.features)}
    reference = reference_of(dataset, WINDOW_NS, scores=scores, without=CLOCKS)
    return First(champion, Watched(champion.id, reference, made.manifest.metrics.log_loss, HORIZON_NS), folder)


@dataclass
class Live:
    """A market of a following day, the fold that scores it, and the watch over its outcomes."""

    first: First
    market: Market
    said: list[DriftEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.floor = Floor(self.first.champion, self.first.models.get)
        self.watch = DriftWatch(self.first.watched, RULES)

    def minutes(self, minutes: int) -> None:
        """Let them pass."""
        for _ in range(0, minutes, 10):
            self.watch.take(0, self.floor.fold(self.market.minutes(10)), self.floor)
            self.said += self.watch.settle([])

    def until(self, kind: type[E], hours: int) -> list[E]:
        """Let the market go on until this has been said, at most so long; everything of the kind."""
        for _ in range(6 * hours):
            if found := self.of(kind):
                return found
            self.minutes(10)
        return self.of(kind)

    def of(self, kind: type[E]) -> list[E]:
        return [each for each in self.said if isinstance(each, kind)]

    def carried_out(self, order: RetrainOrder, labels: "Callable[[Dataset], Dataset]" = lambda each: each) -> str:
        """What an order leads to: two hours since the drift, the training on them, its model as a challenger by the log."""
        while self.market.at_s < order.since // NS + TRAIN_ON_S:
            self.minutes(10)
        made = self.first.trained(labels(self.floor.dataset(order.since / NS)))
        self.floor.fold([self.market.change("challenge", made.id)])
        assert made.id in self.floor.shard.scoring.roster.challengers
        self.watch.registered(made.id)
        return made.id


@pytest.fixture
def live(first: First) -> Live:
    """Three quiet hours of another day: what the model usually loses is known."""
    found = Live(first, Market(2, at_s=DAY_S))
    found.minutes(180)
    assert found.said == [], "nothing has drifted yet"
    return found


def shuffled(dataset: Dataset) -> Dataset:
    """The same rows, whose labels teach nothing."""
    order = np.random.default_rng(0).permutation(len(dataset))
    return replace(dataset, label=dataset.label[order])


def test_a_flipped_meaning_is_noticed_and_its_challenger_promoted_once_it_has_won(live: Live) -> None:
    live.market.meaning = -1.0
    (order,) = live.until(RetrainOrder, hours=2)
    assert any(each.kind == "residual" for each in live.of(DriftSignal)), "inputs have not changed, what follows has"
    challenger = live.carried_out(order)
    (verdict,) = live.until(Verdict, hours=8)
    assert (verdict.kind, verdict.challenger) == ("promote", challenger)
    assert verdict.low is not None
    assert verdict.low > 0
    assert live.of(RetrainOrder) == [order]
    assert live.floor.serves == live.first.champion.id, "a verdict changes nothing by itself"
    live.floor.fold([live.market.change("promote", challenger)])
    outcomes = live.floor.fold(live.market.minutes(10))
    assert outcomes[-1].onnx_id == challenger


def test_a_volatility_of_three_times_is_noticed_in_the_inputs_and_a_challenger_that_does_not_win_is_not_promoted(
    live: Live,
) -> None:
    live.market.loud = 3.0
    (order,) = live.until(RetrainOrder, hours=2)
    assert "volatility_60s" in {each.what for each in live.of(DriftSignal) if each.kind == "input"}
    challenger = live.carried_out(order)
    (verdict,) = live.until(Verdict, hours=8)
    assert (verdict.kind, verdict.challenger) in {("undecided", challenger), ("reject", challenger)}
    assert verdict.labels > 1_000, "it was on trial all the while"
    assert live.of(RetrainOrder) == [order]
    assert live.floor.serves == live.first.champion.id


def test_a_challenger_that_is_worse_is_rejected(live: Live) -> None:
    live.market.loud = 3.0
    (order,) = live.until(RetrainOrder, hours=2)
    challenger = live.carried_out(order, shuffled)
    (verdict,) = live.until(Verdict, hours=8)
    assert (verdict.kind, verdict.challenger) == ("reject", challenger)
    assert live.floor.serves == live.first.champion.id


def test_a_fall_of_the_scoreboard_alone_orders_a_training(first: First) -> None:
    found = Live(
        first, Market(3, at_s=DAY_S, meaning=0.4)
    )  # weaker from the start: no change that a detector could see
    (order,) = found.until(RetrainOrder, hours=4)
    assert [type(each) for each in found.said] == [Fall, RetrainOrder]
    assert order.since == order.ts_event
    challenger = found.carried_out(order)
    assert found.watch.standing.challenger == challenger


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_quiet_day_through_the_real_fold_says_nothing(first: First, seed: int) -> None:
    day = Live(first, Market(seed, at_s=DAY_S))
    day.minutes(24 * 60)
    assert day.said == []
    assert day.watch.late == day.watch.unknown == 0
