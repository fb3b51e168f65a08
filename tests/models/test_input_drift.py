"""Planted drift of inputs is found, quiet days are not alarmed, and hundreds of symbols raise no more alarms than one."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.drift import DAY_NS, DriftRules
from models.drift_reference import Reference, reference_of
from models.input_drift import SCORE, InputDrift
from schemas.drift import DriftSignal
from tests.models.quiet_market import NAMES, WINDOW, Day, day

RULES = DriftRules()


def reference(of: Day, *, scored: bool = False) -> Reference:
    return reference_of(of.dataset(), WINDOW, scores={SCORE: of.score} if scored else {})


def signals(drift: InputDrift, days: list[Day], width: int = 4) -> list[DriftSignal]:
    return [each for one in days for block in one.blocks(width=width) for each in drift.fold(block)]


@pytest.fixture(scope="module")
def learnt() -> Reference:
    return reference(day(1))


def test_a_volatility_of_three_times_the_usual_is_found_within_an_hour(learnt: Reference) -> None:
    drift = InputDrift(learnt, RULES, "m1")
    assert not signals(drift, [day(1, day_number=1, minutes=300)])
    found = signals(drift, [replace_ts(day(1, day_number=2, minutes=60, loud=3.0), day_number=2)])
    assert {each.what for each in found} <= {"return", "volatility"}
    assert "return" in {each.what for each in found}
    first = found[0]
    assert first.symbol == "*"
    assert first.affected_n == len(first.affected)
    assert first.statistic > first.threshold >= RULES.least_index
    assert first.p_value is not None
    assert first.p_value <= drift.alpha
    assert first.ts_event - first.start == WINDOW
    assert first.ts_event - 2 * DAY_NS <= 3600 * 10**9
    assert msgspec.json.decode(msgspec.json.encode(first), type=DriftSignal) == first


def replace_ts(of: Day, day_number: int) -> Day:
    return replace(of, ts=of.ts - of.ts[0] // DAY_NS * DAY_NS + day_number * DAY_NS)


def test_what_has_drifted_is_told_once_and_again_only_after_it_was_well(learnt: Reference) -> None:
    drift = InputDrift(learnt, RULES, "m1")
    loud, calm = day(1, day_number=1, minutes=240, loud=3.0), day(1, day_number=2, minutes=240)
    again = day(1, day_number=3, minutes=240, loud=3.0)
    told = [[each.what for each in signals(drift, [one])].count("return") for one in (loud, calm, again)]
    assert told[0] >= 1
    assert told[1] == 0
    assert told[2] >= 1
    assert drift.drifted[:, NAMES.index("return")].any()


def test_one_symbol_that_drifts_is_named() -> None:
    quiet, later = day(1, symbols=8), day(1, symbols=8, day_number=1, minutes=60)
    features = later.features.copy()
    features[later.symbol == 5] += np.array([9.0, 0, 0, 0])
    found = signals(InputDrift(reference(quiet), RULES, "m1"), [replace(later, features=features)])
    assert found
    assert {each.what for each in found} == {"return"}
    assert all(each.affected == ("S005",) for each in found if each.affected)


def test_a_feature_that_goes_missing_is_drift(learnt: Reference) -> None:
    later = day(1, day_number=1, minutes=30)
    features = later.features.copy()
    features[:, 1] = np.nan
    found = signals(InputDrift(learnt, RULES, "m1"), [replace(later, features=features)])
    assert [(each.what, each.affected_n) for each in found] == [("imbalance", 3)]


def test_rows_whose_features_were_not_found_are_no_missing_values(learnt: Reference) -> None:
    drift = InputDrift(learnt, RULES, "m1")
    for block in day(1, day_number=1, minutes=60).blocks():
        lost = np.arange(len(block.known)) % 3 == 0
        features = np.where(lost[:, None], np.nan, block.features)
        assert not drift.fold(replace(block, features=features, known=~lost))


def test_scores_that_pile_up_are_drift_of_the_score() -> None:
    drift = InputDrift(reference(day(1), scored=True), RULES, "m1")
    later = day(1, day_number=1, minutes=60)
    found = signals(drift, [replace(later, score=np.clip(later.score, 0.49, 0.51))], width=5)
    assert {(each.kind, each.what) for each in found} == {("score", SCORE)}


def test_no_more_quiet_days_are_alarmed_than_stated() -> None:
    """Stated for inputs: 2.5 % of quiet days. Of 24 days, three or more would be a chance of 1 in 45 at that rate."""
    alarmed = 0
    for seed in range(3):
        learnt_of = reference(day(seed, every_s=30))
        for number in range(1, 9):
            drift = InputDrift(learnt_of, RULES, "m1")
            alarmed += bool(signals(drift, [day(seed, day_number=number, every_s=30)]))
    assert alarmed < 3


def test_hundreds_of_symbols_do_not_multiply_the_alarms() -> None:
    """200 symbols of 4 features are 804 series in 96 windows: uncorrected, 1 in 100 would be hundreds of alarms."""
    quiet = day(11, symbols=200, every_s=60)
    drift = InputDrift(reference(quiet), RULES, "m1")
    assert not signals(drift, [day(11, symbols=200, every_s=60, day_number=1)])
    loud = day(11, symbols=200, every_s=60, day_number=2, minutes=60, loud=3.0)
    found = signals(drift, [loud])
    assert found
    assert len(found) <= 4, "a signal a feature and window, not one a symbol"
    assert {each.symbol for each in found} == {"*"}
    assert max(each.tested for each in found) == 201 * 4


def test_what_would_be_drift_of_one_series_is_none_among_hundreds() -> None:
    """A window in which one symbol's p-value is below the level, but not 204 times below it, says nothing."""
    drift = InputDrift(reference(day(11, symbols=50, every_s=30)), RULES, "m1")
    window = day(11, symbols=50, every_s=30, day_number=1, minutes=15)

    def shifted(by: float) -> Day:
        return replace(window, features=window.features + by * np.outer(window.symbol == 7, [1.0, 0, 0, 0]))

    def alone(by: float) -> float:
        one = shifted(by)
        return float(
            drift.yardstick.p_value(drift.yardstick.index(drift.yardstick.bins.counts(one.features, one.symbol)))[7, 0]
        )

    between = [by for by in np.arange(0.5, 9.0, 0.05).tolist() if drift.alpha / 50 < alone(by) < drift.alpha / 2]
    assert between
    assert not signals(drift, [shifted(between[0])])
    everyone = replace(window, features=window.features + np.array([9.0, 0, 0, 0]))
    assert signals(InputDrift(drift.reference, RULES, "m1"), [everyone])


def test_a_symbol_that_the_reference_does_not_know_is_not_watched(learnt: Reference) -> None:
    drift = InputDrift(learnt, RULES, "m1")
    later = day(1, day_number=1, minutes=30)
    assert not signals(drift, [replace(later, symbols=("X", "Y", "Z"), features=later.features + 99)])


def test_a_snapshot_goes_on_with_the_same_signals(learnt: Reference) -> None:
    blocks = [*day(1, day_number=1, minutes=50).blocks(), *day(1, day_number=2, minutes=50, loud=3.0).blocks()]
    whole = InputDrift(learnt, RULES, "m1")
    expected = [each for block in blocks for each in whole.fold(block)]
    assert expected
    found: list[DriftSignal] = []
    drift = InputDrift(learnt, RULES, "m1")
    for block in blocks:
        saved = msgspec.msgpack.encode(drift.snapshot())
        drift = InputDrift(Reference.decode(learnt.encode()), RULES, "m1")
        drift.restore(msgspec.msgpack.decode(saved, type=type(whole.snapshot())))
        found += drift.fold(block)
    assert found == expected
    assert drift.snapshot() == whole.snapshot()
