"""River in the fold: predict, then learn; the same bits live, in replay and after a restart; a warm start at its very record."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.online import OnlineModel
from models.warm_start import warm_change, warmed
from processors.batch import Column, EventBatch, Matrix
from processors.features import FEATURE_NAMES, FEATURES, FEATURES_ID
from processors.indicator import Indicator
from processors.scores import Learner
from processors.shard import FoldRules, Shard, ShardOutput
from processors.snapshot import decode_snapshot
from schemas.control import ModelChange, body_of
from schemas.events import Control, Event
from tests.logs import START, market, stretch

EVENTS = [event for event in market(6_000, seed=5, mean_gap_ms=60) if not isinstance(event, Control)]
N = len(EVENTS)
RULES = FoldRules(learn_every=64)


def shard(learner: Learner | None = None, features: Any = FEATURES) -> Shard:
    return Shard(
        0, learner or OnlineModel(tuple(features)), None, rules=RULES, features=features,
        warm=lambda change: warmed(change, tuple(features), FEATURES_ID),
    )  # fmt: skip


def started_again(first: Shard) -> Shard:
    """Another process goes on from what this one left."""
    raw = first.snapshot()
    again = shard(OnlineModel.restore(decode_snapshot(raw).learner, FEATURE_NAMES))
    again.restore(raw)
    return again


def fold(events: Sequence[Event], cuts: Sequence[int] = (), *, restarts: bool = False) -> list[ShardOutput]:
    on, outputs = shard(), []
    for start, stop in pairwise([0, *sorted({*cuts}), len(events)]):
        outputs.append(on.advance(stretch(events[start:stop], start)))
        on = started_again(on) if restarts else on
    return outputs


@dataclass(frozen=True)
class Rows:
    """Every row: its offset, its features, what the online model said of it, and after how many steps."""

    offset: NDArray[np.int64]
    features: Matrix
    score: Column
    steps: NDArray[np.int64]

    @property
    def bits(self) -> tuple[bytes, bytes, bytes]:
        return self.offset.tobytes(), self.score.tobytes(), self.steps.tobytes()


def rows(outputs: Sequence[ShardOutput]) -> Rows:
    return Rows(
        np.concatenate([o.stretch.offsets[o.folded] for o in outputs]),
        np.ascontiguousarray(np.concatenate([o.features.T for o in outputs])),
        np.concatenate([o.scores.by_model[:, 0] for o in outputs]), np.concatenate([o.scores.steps for o in outputs]),
    )  # fmt: skip


@cache
def whole() -> Rows:
    return rows(fold(EVENTS))


CUTS = st.lists(st.integers(1, N - 1), max_size=6)


def test_every_row_is_scored_before_its_own_label_and_those_after_it_are_learnt() -> None:
    (output,) = fold(EVENTS)
    m, found = output.matured, whole()
    taught = np.flatnonzero((m.label == 0.0) | (m.label == 1.0))
    model, start = OnlineModel(FEATURE_NAMES), 0
    for first in range(0, len(taught) - RULES.learn_every + 1, RULES.learn_every):
        lesson = taught[first : first + RULES.learn_every]
        known_at = int(np.searchsorted(output.folded, m.event[lesson[-1]]))
        assert (m.stamps[lesson, 1] < found.offset[known_at]).all()
        expected = model.score(found.features[start:known_at])
        assert expected.tobytes() == found.score[start:known_at].tobytes()
        model.learn(np.ascontiguousarray(m.features[lesson]), m.label[lesson])
        start = known_at
    assert model.steps > 10
    assert model.score(found.features[start:]).tobytes() == found.score[start:].tobytes()


@settings(max_examples=10, deadline=None)
@given(CUTS)
def test_in_polls_of_any_size_it_says_bit_for_bit_what_a_replay_in_one_block_says(cuts: list[int]) -> None:
    assert rows(fold(EVENTS, cuts)).bits == whole().bits


@settings(max_examples=10, deadline=None)
@given(CUTS)
def test_started_again_from_its_checkpoint_anywhere_it_goes_on_bit_for_bit(cuts: list[int]) -> None:
    assert rows(fold(EVENTS, cuts, restarts=True)).bits == whole().bits


@dataclass(frozen=True)
class Poisoned:
    """A feature that is `value` in a stretch of time, and else the sign of the seconds."""

    value: float

    def start(self, symbols: int) -> "Poisoned":
        return self

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return ()

    def fold(self, batch: EventBatch, out: Column) -> None:
        second = (batch.now - START) // 1_000_000_000
        out[:] = np.where((second > 60) & (second < 120), self.value, np.where(second % 2 == 0, 1.0, -1.0))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e308, -1e308])
def test_a_feature_that_is_no_number_does_not_poison_it(poison: float) -> None:
    features: dict[str, Indicator] = {"return_ewm_1s": FEATURES["return_ewm_1s"], "bad": Poisoned(poison)}
    on = shard(features=features)
    (output,) = [on.advance(stretch(EVENTS))]
    found = output.scores.by_model[:, 0]
    assert ((found > 0.0) & (found < 1.0)).all()
    while_bad = np.flatnonzero(np.abs(np.nan_to_num(output.features[1], nan=2.0)) > 1.0)
    assert len(while_bad) > 500
    assert output.scores.steps[-1] > output.scores.steps[while_bad[-1]] > output.scores.steps[while_bad[0]] > 0
    assert len(set(found[while_bad[-1] + 1 :].tolist())) > 100, "it goes on telling rows apart"
    restored = OnlineModel.restore(on.learner.snapshot(), tuple(features))
    assert np.isfinite(restored.score(np.array([[np.nan, np.nan], [0.0, 1.0]]))).all()


# a warm start


@cache
def learnt() -> OnlineModel:
    """What another night has learnt."""
    on = shard()
    on.advance(stretch([e for e in market(4_000, seed=9, mean_gap_ms=60) if not isinstance(e, Control)]))
    assert isinstance(on.learner, OnlineModel)
    return on.learner


def control(change: ModelChange) -> Control:
    return Control(topic="models", id=change.model, ts_event=START, ts_ingest=START, body=body_of(change))


FINE = warm_change(learnt().snapshot(), FEATURES_ID, by="a person")
PLACE = 2_500
WARM: list[Event] = [*EVENTS[:PLACE], control(FINE), *EVENTS[PLACE:]]


def test_a_warm_start_is_in_force_from_the_record_behind_it_and_learns_on() -> None:
    outputs = fold(WARM)
    found = rows(outputs)
    before = found.offset < PLACE
    cold = whole()
    assert found.score[before].tobytes() == cold.score[: before.sum()].tobytes()
    after = found.steps[~before]
    assert after[0] == learnt().steps
    assert after[-1] > after[0] + 3
    first = ~before & (found.steps == learnt().steps)
    assert learnt().score(found.features[first]).tobytes() == found.score[first].tobytes()
    ((change, refused),) = [(c.change, c.refused) for o in outputs for c in o.changes]
    assert (change.action, change.model, refused) == ("warm", FINE.model, "")


@settings(max_examples=10, deadline=None)
@given(CUTS, st.booleans())
@example([PLACE, PLACE + 1], True)
def test_wherever_the_log_is_cut_or_gone_on_with_a_warm_start_gives_the_same_bits(
    cuts: list[int], restarts: bool
) -> None:
    assert rows(fold(WARM, cuts, restarts=restarts)).bits == rows(fold(WARM)).bits


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (warm_change(FINE.state, "77ab"), "was learnt on features 77ab, but the stream carries"),
        (warm_change(FINE.state[:-5], FEATURES_ID), "is torn or altered"),
        (warm_change(OnlineModel(FEATURE_NAMES[:3]).snapshot(), FEATURES_ID), "was learnt on 3 features, the stream has"),
        (warm_change(b"", FEATURES_ID), "is torn or altered"),
        (msgspec.structs.replace(FINE, state=FINE.state[:-1] + b"x"), "names another state"),
    ],
    ids=["other features", "torn", "fewer features", "empty", "not what its id says"],
)  # fmt: skip
def test_a_warm_start_that_does_not_fit_is_refused_with_its_reason_and_nothing_changes(
    change: ModelChange, reason: str
) -> None:
    outputs = fold([*EVENTS[:PLACE], control(change), *EVENTS[PLACE:]])
    ((told, refused),) = [(c.change, c.refused) for o in outputs for c in o.changes]
    assert told == change
    assert reason in refused
    found = rows(outputs)
    assert found.score.tobytes() == whole().score.tobytes()
