import re

import numpy as np
import pytest

from infra.warm_up import compile_all
from processors.features import FEATURE_NAMES, FEATURES, FEATURES_ID, STRETCH, FeatureEngine, fingerprint
from processors.indicators.vwap import Vwap
from tests.builders import Tick, batch_of, trade
from tests.processors.indicators.logs import Log, day, features

MANY = 1_000


def test_there_are_at_least_24_features() -> None:
    assert len(FEATURES) >= 24


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_a_name_is_a_column_a_field_and_a_python_word(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_a_name_ends_in_the_window_that_its_declaration_has(name: str) -> None:
    told = re.findall(r"(?:window|half_life|fast|slow|signal)_([sm])=(\d+)", repr(FEATURES[name]))
    unit = {unit for unit, _ in told}
    if told:
        assert name.endswith("_" + "_".join(number for _, number in told) + unit.pop())


def test_no_two_names_say_the_same() -> None:
    assert len({repr(indicator) for indicator in FEATURES.values()}) == len(FEATURES)


def test_the_fingerprint_changes_with_a_parameter_a_name_and_the_order() -> None:
    one, two = Vwap(window_s=1), Vwap(window_s=2)
    told = [{"a": one, "b": two}, {"a": one, "b": one}, {"a": one, "c": two}, {"b": two, "a": one}]
    assert len({fingerprint(features) for features in told}) == 4
    assert fingerprint(FEATURES) == FEATURES_ID


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_what_is_remembered_has_one_row_a_symbol(name: str) -> None:
    assert all(array.shape[0] == 7 for array in FEATURES[name].start(7).arrays)


def test_what_is_remembered_of_a_symbol_stays_small() -> None:
    kept = {name: sum(array.nbytes for array in indicator.start(1).arrays) for name, indicator in FEATURES.items()}
    assert sum(kept.values()) <= 40_000
    assert sum(size for name, size in kept.items() if name.startswith(("rsi", "macd", "bollinger", "atr"))) <= 12_000


def test_a_symbol_that_turns_fresh_after_rows_of_its_own_in_one_call_forgets_them() -> None:
    told = [Tick(0, at_s, price=price, size=1.0) for at_s, price in ((0, 10.0), (60, 11.0), (61, 30.0), (121, 30.0))]
    fresh = np.array([False, False, True, False])
    lines = FeatureEngine({"vwap_dev_60s": Vwap(window_s=60)}).fold(batch_of(told), fresh)
    np.testing.assert_array_equal(lines[0], [np.nan, 0.0, np.nan, 0.0])


def test_a_batch_longer_than_a_stretch_is_one_fold() -> None:
    log = _longer_than_a_stretch()
    whole, batch = features(log), log.batch()
    engine = FeatureEngine(FEATURES)
    pieces = [engine.fold(batch.rows(at, at + MANY), log.fresh[at : at + MANY]) for at in range(0, len(log), MANY)]
    assert len(log) > STRETCH
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def _longer_than_a_stretch() -> Log:
    return day(seed=4, rows=STRETCH // 4 + MANY)


def test_an_empty_batch_has_no_rows_and_changes_nothing() -> None:
    engine = FeatureEngine(FEATURES)
    assert engine.fold(batch_of([]), np.zeros(0, np.bool_)).shape == (len(FEATURES), 0)


def test_every_line_is_contiguous() -> None:
    lines = FeatureEngine(FEATURES).fold(batch_of([trade(1.0, at_s=k) for k in range(5)]), np.zeros(5, np.bool_))
    assert all(line.flags.c_contiguous for line in lines)


def test_warming_up_compiles_all_that_a_real_batch_needs() -> None:
    compile_all()
    log = day(seed=5, rows=50)
    kernels = _kernels()
    compiled = {kernel: len(kernel.signatures) for kernel in kernels}
    features(log)
    assert len(kernels) >= 15
    assert {kernel: len(kernel.signatures) for kernel in kernels} == compiled
    assert all(compiled.values())


def _kernels() -> list:  # type: ignore[type-arg]
    """The compiled functions that the states of FEATURES call."""
    modules = {type(indicator).__module__ for indicator in FEATURES.values()}
    found = [value for module in modules for value in vars(__import__(module, fromlist=["_"])).values()]
    return [
        value
        for value in found
        if hasattr(value, "signatures") and value.__name__.startswith(("_fold", "_since", "_share"))
    ]
