"""The laws that hold for every entry of FEATURES (STYLE section 4). A feature without an oracle fails here."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from processors.batch import QUOTE, TRADE, Column, EventBatch, Flags
from processors.features import FEATURE_NAMES, FEATURES, FeatureEngine
from processors.indicator import IndicatorState
from tests.processors.indicators.logs import SYMBOLS, Log, day, features, of_symbol, then
from tests.processors.indicators.oracles import ORACLES, traded_again

every_feature = pytest.mark.parametrize("name", FEATURE_NAMES)
AGREES_TO = 1e-9


@cache
def log() -> Log:
    return day(seed=1)


@cache
def folded() -> NDArray[np.float64]:
    return features(log())


def line(matrix: NDArray[np.float64], name: str) -> Column:
    return np.asarray(matrix[FEATURE_NAMES.index(name)])


def assert_same_bits(found: Column, expected: Column) -> None:
    missing = np.isnan(expected)
    assert np.array_equal(np.isnan(found), missing)
    assert np.array_equal(found[~missing].view(np.int64), expected[~missing].view(np.int64))


@cache
def _expected(name: str, symbol: int) -> Column:
    return ORACLES[type(FEATURES[name])].expected(FEATURES[name], of_symbol(log().batch(), symbol))


@every_feature
@pytest.mark.parametrize("symbol", range(SYMBOLS))
def test_it_equals_its_definition_computed_anew_at_every_row(name: str, symbol: int) -> None:
    found = line(folded(), name)[log().symbol == symbol]
    scale = ORACLES[type(FEATURES[name])].scale
    np.testing.assert_allclose(found, _expected(name, symbol), rtol=AGREES_TO, atol=AGREES_TO * scale, equal_nan=True)


@every_feature
def test_it_has_a_value_for_some_symbol_and_most_of_its_day(name: str) -> None:
    had = [np.isfinite(line(folded(), name)[log().symbol == symbol]).mean() for symbol in range(SYMBOLS)]
    assert max(had) > 0.5


@cache
def _split(seed: int) -> NDArray[np.float64]:
    """Folded in pieces of random lengths, among them none and one; the first rows one at a time."""
    batch, fresh, n = log().batch(), log().fresh, len(log())
    cuts = np.sort(np.random.default_rng(seed).integers(1_000, n, 40))
    engine = FeatureEngine(FEATURES, capacity=SYMBOLS)
    bounds = [*range(1_001), *cuts.tolist(), n]
    parts = [engine.fold(batch.rows(start, stop), fresh[start:stop]) for start, stop in pairwise(bounds)]
    return np.concatenate(parts, axis=1)


@every_feature
@pytest.mark.parametrize("seed", range(3))
def test_any_split_of_the_log_gives_the_same_bits(name: str, seed: int) -> None:
    assert_same_bits(line(_split(seed), name), line(folded(), name))


@cache
def _one_row_at_a_time() -> NDArray[np.float64]:
    batch, fresh = log().batch(), log().fresh
    engine = FeatureEngine(FEATURES, capacity=SYMBOLS)
    return np.concatenate([engine.fold(batch.rows(i, i + 1), fresh[i : i + 1]) for i in range(len(log()))], axis=1)


@every_feature
def test_one_row_at_a_time_gives_the_same_bits(name: str) -> None:
    assert_same_bits(line(_one_row_at_a_time(), name), line(folded(), name))


def settled(name: str, batch: EventBatch, other: EventBatch) -> Flags:
    """The rows at which nothing may be left of the last row whose columns differ between two logs of equal length."""
    agree = np.ones(len(batch), np.bool_)
    for column in EventBatch.__dataclass_fields__:
        one, two = getattr(batch, column), getattr(other, column)
        agree &= (one == two) | (np.isnan(one) & np.isnan(two))
    flags = np.zeros(len(batch), np.bool_)
    for symbol in range(SYMBOLS):
        mine = batch.symbol == symbol
        differing = np.flatnonzero(~agree[mine])
        since = int(differing[-1]) + 1 if len(differing) else 0
        law, rows = ORACLES[type(FEATURES[name])], of_symbol(batch, symbol)
        flags[mine] = law.settled(FEATURES[name], rows, since)
        never_traded = law.settled is traded_again and TRADE not in rows.kind
        assert flags[mine].any() != never_traded, f"the log is too short to prove anything of symbol {symbol}"
    return flags


def assert_nothing_is_left(name: str, found: Column, expected: Column, rows: Flags) -> None:
    assert np.isfinite(expected[rows]).any()
    assert_same_bits(found[rows], expected[rows])


@cache
def _from_offset(offset: int) -> tuple[NDArray[np.float64], EventBatch]:
    """A worker that begins there, knowing nothing."""
    late = log().at(slice(offset, None))
    batch = late.batch()
    return features(late, batch), batch


@every_feature
@pytest.mark.parametrize("offset", [1, 777, 1_803])
def test_any_starting_offset_gives_the_same_bits_once_its_memory_is_full(name: str, offset: int) -> None:
    found, batch = _from_offset(offset)
    rows = settled(name, log().batch().rows(offset, len(log())), batch)
    assert_nothing_is_left(name, line(found, name), line(folded(), name)[offset:], rows)


@cache
def _restored(at: int) -> NDArray[np.float64]:
    """Snapshot after `at` rows, taken over by an engine of another size."""
    batch, fresh = log().batch(), log().fresh
    first = FeatureEngine(FEATURES, capacity=SYMBOLS)
    before = first.fold(batch.rows(0, at), fresh[:at])
    snapshot = [np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) for array in first.arrays(SYMBOLS)]
    second = FeatureEngine(FEATURES, capacity=1)
    second.restore(snapshot, SYMBOLS)
    return np.concatenate([before, second.fold(batch.rows(at, len(batch)), fresh[at:])], axis=1)


@every_feature
@pytest.mark.parametrize("at", [1, 900, 5_000])
def test_a_snapshot_restored_gives_the_same_bits(name: str, at: int) -> None:
    assert_same_bits(line(_restored(at), name), line(folded(), name))


@cache
def _grown() -> NDArray[np.float64]:
    """Symbol by symbol, each new one making the engine grow."""
    batch, fresh, n = log().batch(), log().fresh, len(log())
    engine = FeatureEngine(FEATURES, capacity=1)
    parts = []
    for start, stop in pairwise([0, *range(3, 60), n]):
        engine.grow(1 + int(batch.symbol[:stop].max()))
        parts.append(engine.fold(batch.rows(start, stop), fresh[start:stop]))
    return np.concatenate(parts, axis=1)


@every_feature
def test_room_for_more_symbols_changes_no_bit(name: str) -> None:
    assert_same_bits(line(_grown(), name), line(folded(), name))


@every_feature
@pytest.mark.parametrize("stop", [1, 500, 4_321])
def test_later_events_never_change_earlier_rows(name: str, stop: int) -> None:
    assert_same_bits(line(features(log().at(slice(0, stop))), name), line(folded(), name)[:stop])


SPOILED = ((0, TRADE), (0, QUOTE), (1, TRADE), (2, QUOTE))
BAD = {"absurd": (1_000.0, 1e6), "infinite": (np.inf, np.inf), "missing": (np.nan, np.nan)}


@cache
def _spoiled(symbol: int, kind: int, bad: str) -> tuple[NDArray[np.float64], EventBatch]:
    """One event of the symbol, early in its day, says something impossible."""
    row = np.flatnonzero((log().symbol == symbol) & (log().kind == kind))[100]
    spoiled = log().corrupted(int(row), *BAD[bad])
    batch = spoiled.batch()
    return features(spoiled, batch), batch


@every_feature
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("symbol", "kind"), SPOILED)
def test_one_absurd_event_leaves_no_trace_once_it_has_left_the_window(
    name: str, bad: str, symbol: int, kind: int
) -> None:
    found, batch = _spoiled(symbol, kind, bad)
    rows = settled(name, log().batch(), batch)
    assert_nothing_is_left(name, line(found, name), line(folded(), name), rows)


@every_feature
def test_it_is_never_infinite_even_when_the_input_is_absurd(name: str) -> None:
    spoiled = [_spoiled(symbol, kind, bad)[0] for symbol, kind in SPOILED for bad in BAD]
    assert not any(np.isinf(line(matrix, name)).any() for matrix in (folded(), *spoiled))


@every_feature
@pytest.mark.parametrize("symbol", range(SYMBOLS))
def test_it_is_not_a_number_until_warm_and_never_zero_instead(name: str, symbol: int) -> None:
    found = line(folded(), name)[log().symbol == symbol]
    assert np.array_equal(np.isnan(found), np.isnan(_expected(name, symbol)))
    law, rows = ORACLES[type(FEATURES[name])], of_symbol(log().batch(), symbol)
    if law.settled.__name__ == "left_window":
        assert np.isnan(found[~law.settled(FEATURES[name], rows, 0)]).all()


@cache
def _remembered(stop: int, bad: str) -> list[IndicatorState]:
    """The states after `stop` rows, the last of which is spoiled."""
    engine = FeatureEngine(FEATURES, capacity=SYMBOLS)
    told = log().at(slice(0, stop)).corrupted(stop - 1, *BAD[bad])
    engine.fold(told.batch(), told.fresh)
    return engine.states


@every_feature
@pytest.mark.parametrize("bad", ["infinite", "missing"])
@pytest.mark.parametrize(("symbol", "kind"), SPOILED)
def test_an_input_that_is_not_finite_never_enters_the_state(name: str, bad: str, symbol: int, kind: int) -> None:
    stop = 1 + int(np.flatnonzero((log().symbol == symbol) & (log().kind == kind))[100])
    state = _remembered(stop, bad)[FEATURE_NAMES.index(name)]
    for kept, unknown in zip(state.arrays, FEATURES[name].start(1).arrays, strict=True):
        assert not np.isposinf(kept).any()
        assert np.isnan(unknown).any() or not np.isnan(kept).any()  # NaN may say that nothing is known yet


@cache
def _alone(symbol: int) -> NDArray[np.float64]:
    return features(log().at(log().symbol == symbol))


@every_feature
@pytest.mark.parametrize("symbol", range(SYMBOLS))
def test_other_symbols_between_its_rows_change_nothing(name: str, symbol: int) -> None:
    assert_same_bits(line(_alone(symbol), name), line(folded(), name)[log().symbol == symbol])


@cache
def _second_day() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A day alone, after another in one call, and after another in pieces."""
    second = day(seed=2, rows=300, number=20_001)
    both = then(day(seed=3, rows=300), second)
    batch, engine = both.batch(), FeatureEngine(FEATURES, capacity=SYMBOLS)
    bounds = [0, *range(50, len(both), 333), len(both)]
    pieces = [engine.fold(batch.rows(start, stop), both.fresh[start:stop]) for start, stop in pairwise(bounds)]
    n = len(second)
    return features(second), features(both, batch)[:, -n:], np.concatenate(pieces, axis=1)[:, -n:]


@every_feature
def test_a_new_session_forgets_the_one_before(name: str) -> None:
    alone, after, in_pieces = (line(matrix, name) for matrix in _second_day())
    assert_same_bits(after, alone)
    assert_same_bits(in_pieces, alone)


@cache
def _without_prints() -> tuple[NDArray[np.float64], Flags]:
    kept = log().kind != 3
    return features(log().at(kept)), kept


@every_feature
def test_a_print_is_nobodys_input(name: str) -> None:
    found, kept = _without_prints()
    expected = line(folded(), name)[kept]
    warm = ~np.isnan(line(found, name)) & ~np.isnan(expected)
    assert_same_bits(line(found, name)[warm], expected[warm])
    assert warm.mean() > 0.9 * (~np.isnan(expected)).mean()
