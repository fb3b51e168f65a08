"""The whole watch on planted drift: one training, one challenger, promoted only where it wins; on quiet days nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from models.drift import DAY_NS, NS, DriftRules
from models.drift_reference import reference_of
from models.input_drift import SCORE
from models.promotion import TrialRules
from models.retraining import RetrainRules
from schemas.drift import Declined, DriftEvent, DriftSignal, Fall, RetrainOrder, Verdict
from schemas.errors import RecoveryError
from schemas.rows import Outcome
from schemas.topics import DRIFT
from streams.drift_watch import DriftWatch, Watched, WatchRules
from tests.models.quiet_market import NAMES, WEIGHTS, WINDOW, Day, day, sigmoid

Floats = NDArray[np.float64]
HORIZON = 10 * NS
FLIPPED = WEIGHTS * np.array([1.0, -1.0, 1.0, 1.0])
PARTITIONS = 3
RULES = WatchRules(
    drift=DriftRules(least_labels=6),
    trial=TrialRules(least_labels=1000),
    retrain=RetrainRules(cool_down_ns=6 * 3600 * NS),
)


@dataclass
class World:
    """A day as outcomes by partition (one symbol each), and the store that knows the features behind them."""

    day: Day
    challenger: Floats = field(default_factory=lambda: np.full(4, np.nan))
    """Weights of the model on trial."""
    lost: float = 0.0
    """Share of rows that the store does not know."""
    model: str = "m1"
    """The one that serves."""

    def rows(self, outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
        assert tuple(names) == NAMES
        at = [outcome.predicted_offset for outcome in outcomes]
        return self.day.features[at], np.array([row % 100 >= 100 * self.lost for row in at])

    def outcome(self, row: int) -> Outcome:
        one, rival = self.day, float(sigmoid(self.day.features[row] @ self.challenger))
        ts = int(one.ts[row])
        return Outcome(
            symbol=one.symbols[one.symbol[row]], ts_event=ts, ts_matured=ts + HORIZON, horizon_ns=HORIZON, log_id="log",
            src_partition=int(one.symbol[row]), src_offset=row, predicted_offset=row, price=1.0, price_matured=1.0,
            log_return=0.0, label=float(one.label[row]), online=None, onnx=float(one.score[row]), onnx_id=self.model,
            challengers={} if np.isnan(rival) else {"c1": rival},
        )  # fmt: skip

    def polls(self, size: int) -> Iterator[tuple[int, list[Outcome]]]:
        """Turn by turn `size` outcomes of a partition."""
        by_partition = [np.flatnonzero(self.day.symbol == each) for each in range(PARTITIONS)]
        for at in range(0, len(by_partition[0]), size):
            for partition in range(PARTITIONS):
                yield partition, [self.outcome(int(row)) for row in by_partition[partition][at : at + size]]


@pytest.fixture(scope="module")
def watched() -> Watched:
    first = day(1)
    promised = -np.log(np.where(first.label == 1, first.score, 1 - first.score)).mean()
    return Watched("m1", reference_of(first.dataset(), WINDOW, scores={SCORE: first.score}), float(promised))


def run(watch: DriftWatch, world: World, size: int = 60) -> list[DriftEvent]:
    """Read to the end, `size` outcomes of a partition at a time, and settle after each."""
    said: list[DriftEvent] = []
    left = [int((world.day.symbol == each).sum()) for each in range(PARTITIONS)]
    for partition, outcomes in world.polls(size):
        watch.take(partition, outcomes, world)
        left[partition] -= len(outcomes)
        said += watch.settle([each for each in range(PARTITIONS) if left[each]])
    return said


def of(kind: type, said: list[DriftEvent]) -> list[DriftEvent]:
    return [each for each in said if isinstance(each, kind)]


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
    assert watch.closed == 9, "the newest outcome begins the eleventh block"


def test_an_outcome_of_a_closed_block_is_counted_and_left_out(watched: Watched) -> None:
    world = World(day(1, minutes=10))
    watch = DriftWatch(watched, RULES)
    run(watch, world)
    watch.take(1, [world.outcome(1)], world)
    assert watch.late == 1
    assert list(watch.settle([])) == []


def test_outcomes_without_features_are_counted_and_change_no_input(watched: Watched) -> None:
    watch = DriftWatch(watched, RULES)
    assert run(watch, World(day(1, day_number=1, minutes=120), lost=0.3)) == []
    assert watch.unknown == pytest.approx(0.3 * 120 * 18, rel=0.05)


def test_a_fall_of_the_scoreboard_alone_orders_a_training(watched: Watched) -> None:
    hopeful = Watched(watched.id, watched.reference, promised=watched.promised - 0.1)
    said = run(DriftWatch(hopeful, RULES), World(day(1, day_number=1, minutes=300)))
    assert [type(each) for each in said] == [Fall, RetrainOrder]


def test_a_snapshot_after_any_poll_goes_on_with_the_same_words(watched: Watched) -> None:
    world = World(day(1, day_number=1, minutes=90, loud=3.0))
    whole = DriftWatch(watched, RULES)
    expected = run(whole, world, size=20)
    assert of(RetrainOrder, expected)
    watch, found, left = DriftWatch(watched, RULES), [], [540] * PARTITIONS
    for partition, outcomes in world.polls(20):
        watch.take(partition, outcomes, world)
        left[partition] -= len(outcomes)
        found += watch.settle([each for each in range(PARTITIONS) if left[each]])
        saved, watch = watch.snapshot(), DriftWatch(watched, RULES)
        watch.restore(saved)
    assert found == expected
    assert watch.snapshot() == whole.snapshot()


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


def test_a_damaged_snapshot_or_one_of_another_model_is_refused(watched: Watched) -> None:
    watch = DriftWatch(watched, RULES)
    run(watch, World(day(1, minutes=20)))
    saved = watch.snapshot()
    bent = bytearray(saved)
    bent[len(bent) // 2] ^= 1
    with pytest.raises(RecoveryError, match="do not fit their checksum"):
        DriftWatch(watched, RULES).restore(bytes(bent))
    with pytest.raises(RecoveryError, match="do not fit their checksum"):
        DriftWatch(watched, RULES).restore(saved[:-5])
    other = Watched("m2", watched.reference)
    with pytest.raises(RecoveryError, match="of model m1"):
        DriftWatch(other, RULES).restore(saved)


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
