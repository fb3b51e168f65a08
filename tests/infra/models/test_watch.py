"""What is done about a model that takes too long, and about challengers under load."""

import numpy as np

from infra.models.watch import ROUNDS, ModelWatch
from infra.settings import Models
from processors.batch import Column, Matrix
from schemas.control import REMOTE
from tests.fakes import ConstantModel, NoMeter

CHALLENGERS = ("c1", "c2")
SERVED = f"{REMOTE}m1"


def watch() -> ModelWatch:
    return ModelWatch(Models(slowest_us=100.0, shed_lag=1_000), NoMeter())


def rounds(
    on: ModelWatch, us_per_row: float, *, rows: int = 100, lag: int = 0, times: int = ROUNDS, model: str = "m1"
) -> list[tuple[str, str]]:
    told = []
    for _ in range(times):
        on.note(model, us_per_row * rows / 1e6, rows)
        told += [(change.action, change.model) for change in on.look(lag, CHALLENGERS)]
    return told


def test_a_model_that_is_too_slow_round_after_round_is_quarantined_once() -> None:
    on = watch()
    assert rounds(on, 150.0, times=ROUNDS - 1) == []
    assert rounds(on, 150.0, times=1) == [("quarantine", "m1")]
    assert rounds(on, 150.0, times=1) == []


def test_one_slow_round_or_a_handful_of_rows_says_nothing() -> None:
    on = watch()
    assert rounds(on, 150.0, times=ROUNDS - 1) + rounds(on, 50.0, times=1) + rounds(on, 150.0, times=ROUNDS - 1) == []
    assert rounds(watch(), 9_000.0, rows=3, times=9) == []


def test_a_server_that_holds_up_the_flow_for_a_handful_of_rows_round_after_round_is_too_slow() -> None:
    on = watch()
    assert rounds(on, 100_000.0, rows=4, times=ROUNDS - 1, model=SERVED) == []
    assert rounds(on, 100_000.0, rows=4, times=1, model=SERVED) == [("quarantine", SERVED)]
    assert rounds(watch(), 100_000.0, rows=1, times=9, model=SERVED) == [], "a tenth of a round"
    assert rounds(watch(), 100_000.0, rows=4, times=9) == [], "here it was the machine that was held up"
    patient = ModelWatch(Models(slowest_us=200_000.0), NoMeter())
    assert rounds(patient, 100_000.0, rows=4, times=9, model=SERVED) == [], "so much a row is allowed"


def test_stalls_with_quick_rounds_between_them_say_nothing_however_few_the_rows() -> None:
    on = watch()
    for _ in range(2 * ROUNDS):
        assert rounds(on, 100_000.0, rows=4, times=ROUNDS - 1, model=SERVED) == []
        assert rounds(on, 50.0, rows=4, times=1, model=SERVED) == []


def test_under_load_challengers_are_retired_the_newest_first_and_nobody_else() -> None:
    on = watch()
    assert rounds(on, 1.0, lag=1_001, times=ROUNDS) == [("retire", "c2")]
    assert rounds(on, 1.0, lag=1_000, times=9) == []
    assert [change for _ in range(9) for change in watch().look(5_000, ())] == []


def test_a_timed_model_scores_as_it_does_and_its_time_is_counted() -> None:
    class Slow(ConstantModel):
        def score(self, features: Matrix) -> Column:
            return np.full(len(features), 0.25)

    on = watch()
    model = on.timed(Slow(id="slow"))
    assert model is not None
    assert model.id == "slow"
    assert model.score(np.zeros((70, 2))).tolist() == [0.25] * 70
    assert on._spent["slow"].rows == 70
    assert on.timed(None) is None
