"""The whole watch on planted drift: one training, one challenger, promoted only where it wins; on quiet days nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from models.drift import DAY_NS, NS
from models.promotion import TrialRules
from schemas.drift import Declined, DriftSignal, Fall, RetrainOrder, Verdict
from schemas.rows import Outcome
from schemas.topics import DRIFT
from streams.drift_watch import DriftWatch, Watched
from tests.models.quiet_market import WEIGHTS, Day, day, sigmoid
from tests.streams.drift_days import HORIZON, PARTITIONS, RULES, Floats, World, of, run

FLIPPED = WEIGHTS * np.array([1.0, -1.0, 1.0, 1.0])


def trained(world: Day) -> Floats:
    """A logistic regression on what came true, by Newton's method."""
    w = np.zeros(4)
    for _ in range(8):
        p = sigmoid(world.features @ w)
        hessian = (world.features * (p * (1 - p))[:, None]).T @ world.features + np.eye(4)
        w += np.linalg.solve(hessian, world.features.T @ (world.label - p) - w)
    return w


def test_a_quiet_day_says_nothing_at_all(watched: Watched) -> None:
    watch = DriftWatch(watched, RULES)
    assert run(watch, World(day(1, day_number=1))) == []
    assert watch.late == watch.unknown == 0


def test_a_flipped_sign_is_noticed_trains_one_challenger_and_promotes_it_once_it_has_won(watched: Watched) -> None:
    watch = DriftWatch(watched, RULES)
    assert run(watch, World(day(1, day_number=1, minutes=300))) == []
    said = run(watch, World(day(1, day_number=2, minutes=300, meaning=FLIPPED)))
    residual = [each for each in of(DriftSignal, said) if each.kind == "residual"]
    assert residual
    assert len(of(RetrainOrder, said)) == 1
    assert watch.standing.pending is not None
    assert watch.trial is None, "nobody is on trial before the training has made one"
    learnt = trained(day(1, day_number=2, minutes=300, meaning=FLIPPED))
    watch.registered("c1")
    after = run(watch, World(day(1, day_number=3, minutes=600, meaning=FLIPPED), challenger=learnt))
    verdicts = of(Verdict, after)
    assert [each.kind for each in verdicts] == ["promote"]
    assert verdicts[0].challenger == "c1"
    assert watch.verdict == verdicts[0]
    assert not of(RetrainOrder, after)
    watch.carried_out()
    assert watch.verdict is None


def test_a_volatility_of_three_times_the_usual_trains_one_challenger_which_is_not_promoted_where_it_is_no_better(
    watched: Watched,
) -> None:
    watch = DriftWatch(watched, RULES)
    said = run(watch, World(day(1, day_number=1, minutes=600, loud=3.0)))
    assert {each.what for each in of(DriftSignal, said)} >= {"return"}
    assert len(of(RetrainOrder, said)) == 1
    order = of(RetrainOrder, said)[0]
    assert order.ts_event - DAY_NS <= 3600 * NS, "within the hour"
    assert all("is being carried out" in each.why for each in of(Declined, said))
    watch.registered("c1")
    worse = WEIGHTS * 0.3
    after = run(watch, World(day(1, day_number=2, minutes=900, loud=3.0), challenger=worse))
    assert [each.kind for each in of(Verdict, after)] == ["reject"]
    assert watch.verdict == of(Verdict, after)[0]
    assert watch.standing.challenger == ""


def test_what_is_said_does_not_depend_on_how_outcomes_arrive(watched: Watched) -> None:
    loud = day(1, day_number=1, minutes=120, loud=3.0)
    expected = run(DriftWatch(watched, RULES), World(loud), size=1)
    assert of(DriftSignal, expected)
    for size in (7, 90, 720):
        assert run(DriftWatch(watched, RULES), World(loud), size=size) == expected


def test_a_partition_that_was_not_read_yet_holds_blocks_open_and_one_that_is_silent_does_not(watched: Watched) -> None:
    world = World(day(1, minutes=10))
    watch = DriftWatch(watched, RULES)
    outcomes = [outcome for partition, part in world.polls(10) if partition == 0 for outcome in part]
    watch.take(0, outcomes, world)
    assert watch.passed(behind=[1]) == 0
    assert list(watch.settle(behind=[1])) == []
    assert watch.closed == -1
    list(watch.settle(behind=[]))
    assert watch.closed == 8, "the newest outcome begins the eleventh block, and the tenth is held open"


def test_an_outcome_of_a_closed_block_is_counted_and_left_out(watched: Watched) -> None:
    world = World(day(1, minutes=10))
    watch = DriftWatch(watched, RULES)
    run(watch, world)
    watch.take(1, [world.outcome(1)], world)
    assert watch.late == 1
    assert list(watch.settle([])) == []


def test_what_a_heartbeat_made_known_behind_its_block_is_seen_however_it_is_read(watched: Watched) -> None:
    world = World(day(1, minutes=10))
    first, second, third = (world.outcome(row) for row in (0, 1, 2))
    edge = (first.ts_matured // RULES.drift.block_ns + 1) * RULES.drift.block_ns

    def matured(outcome: Outcome, by_s: float) -> Outcome:
        return msgspec.structs.replace(outcome, ts_matured=edge + round(by_s * NS))

    log = [matured(first, -1), matured(second, 4.9), matured(third, -0.1), matured(third, 5)]
    for size in (1, 2, 4):
        watch = DriftWatch(watched, RULES)
        for at in range(0, len(log), size):
            assert watch.closed == -1
            watch.take(0, log[at : at + size], world)
            list(watch.settle([]))
        assert watch.late == 0
        assert watch.closed == edge // RULES.drift.block_ns - 1
        watch.take(0, [matured(second, -0.1)], world)
        assert watch.late == 1


def test_outcomes_without_features_are_counted_and_change_no_input(watched: Watched) -> None:
    watch = DriftWatch(watched, RULES)
    assert run(watch, World(day(1, day_number=1, minutes=120), lost=0.3)) == []
    assert watch.unknown == pytest.approx(0.3 * 120 * 18, rel=0.05)


def test_a_fall_of_the_scoreboard_alone_orders_a_training(watched: Watched) -> None:
    hopeful = Watched(watched.id, watched.reference, promised=watched.promised - 0.1)
    said = run(DriftWatch(hopeful, RULES), World(day(1, day_number=1, minutes=300)))
    assert [type(each) for each in said] == [Fall, RetrainOrder]


def test_an_outcome_that_comes_twice_counts_once(watched: Watched) -> None:
    world = World(day(1, day_number=1, minutes=90, loud=3.0))
    once, twice = DriftWatch(watched, RULES), DriftWatch(watched, RULES)
    expected, found, left = run(once, world, size=20), [], [540] * PARTITIONS
    for partition, outcomes in world.polls(20):
        twice.take(partition, [*outcomes, *outcomes], world)
        left[partition] -= len(outcomes)
        found += twice.settle([each for each in range(PARTITIONS) if left[each]])
    assert found == expected


def test_everything_that_is_said_survives_the_topic(watched: Watched) -> None:
    said = run(DriftWatch(watched, RULES), World(day(1, day_number=1, minutes=400, loud=3.0)))
    assert {type(each) for each in said} >= {DriftSignal, RetrainOrder, Declined}
    assert DRIFT.decode_all(DRIFT.encode_all(said)) == said
    assert {DRIFT.key(each) for each in said} <= {"*", "S000", "S001", "S002"}


@dataclass
class Asked:
    """Counts what it is asked for."""

    outcomes: list[Outcome] = field(default_factory=list)

    def rows(self, outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
        self.outcomes += outcomes
        return np.zeros((len(outcomes), len(names))), np.ones(len(outcomes), np.bool_)


OTHER_HORIZON = {"horizon_ns": 60 * NS}
VOID = {"label": None, "void": "halt", "price_matured": None, "log_return": None}
OTHER_MODEL = {"onnx_id": "m0"}


@pytest.mark.parametrize("change", [OTHER_HORIZON, VOID, OTHER_MODEL, {"onnx": None}])
def test_outcomes_of_another_horizon_or_model_and_void_ones_are_not_looked_at(
    watched: Watched, change: dict[str, object]
) -> None:
    mine = replace(watched, horizon_ns=HORIZON)
    outcomes = [World(day(1, minutes=10)).outcome(row) for row in range(6)]
    mixed = [*outcomes[:3], *(msgspec.structs.replace(each, **change) for each in outcomes[3:])]
    watch, asked = DriftWatch(mine, RULES), Asked()
    watch.take(0, mixed, asked)
    assert asked.outcomes == outcomes[:3]
    assert watch.unknown == watch.late == 0


def test_what_is_not_looked_at_moves_the_time_of_its_partition_unless_it_is_void(watched: Watched) -> None:
    outcome = World(day(1, minutes=10)).outcome(0)
    later = msgspec.structs.replace(outcome, ts_matured=outcome.ts_matured + 600 * NS)
    watch = DriftWatch(replace(watched, horizon_ns=HORIZON), RULES)
    watch.take(0, [outcome, msgspec.structs.replace(later, **VOID)], Asked())
    assert watch.newest == {0: outcome.ts_matured}
    watch.take(0, [msgspec.structs.replace(later, **OTHER_HORIZON)], Asked())
    assert watch.newest == {0: later.ts_matured}


def test_a_challenger_scores_under_its_own_id_also_while_it_was_in_the_shadow(watched: Watched) -> None:
    shadow = Watched("c1", watched.reference)
    watch, asked = DriftWatch(shadow, RULES), Asked()
    outcome = msgspec.structs.replace(World(day(1, minutes=10)).outcome(0), challengers={"c1": 0.25})
    watch.take(0, [outcome], asked)
    assert asked.outcomes == [outcome]
    online = DriftWatch(Watched("online", watched.reference), RULES)
    online.take(0, [outcome], asked)
    assert len(asked.outcomes) == 1, "the online model had said nothing"


def test_a_challenger_that_scores_no_longer_ends_its_trial_undecided(watched: Watched) -> None:
    watch = DriftWatch(watched, RULES)
    assert watch.abandoned() is None
    watch.registered("c1")
    run(watch, World(day(1, minutes=30), challenger=WEIGHTS))
    verdict = watch.abandoned()
    assert verdict is not None
    assert (verdict.kind, verdict.challenger, verdict.low) == ("undecided", "c1", None)
    assert watch.standing.challenger == ""
    assert watch.trial is None


def test_a_trial_without_a_single_score_of_the_challenger_ends_too(watched: Watched) -> None:
    rules = replace(RULES, trial=TrialRules(longest_ns=3600 * NS))
    watch = DriftWatch(watched, rules)
    watch.registered("c1")
    said = run(watch, World(day(1, minutes=90)))
    assert [each.kind for each in of(Verdict, said)] == ["undecided"]
