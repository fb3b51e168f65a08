"""The fold started anywhere and fed in any pieces says the same: a real session, 50 offsets, random splits."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infra.composition import ShardMaker
from models.online import OnlineModel
from processors.batch import NS, EventBatch, Flags, Integers
from processors.columns import LogStretch
from processors.features import FEATURE_NAMES, FEATURES, FEATURES_ID
from processors.sessions import Calendar, Sessions
from processors.shard import FoldRules, Shard
from streams.rows import Block, RowMaker
from tests.fakes import CountingLearner
from tests.logs import market, stretch
from tests.processors.indicators.oracles import ORACLES
from tests.streams.sessions import OPEN_NS, busy_session, sparse_day, synthetic_session

EVENTS = 110_000
"""Trades and quotes."""
STARTS = 50
FOLDED_ON = 40_000
"""Records that are folded from each start: more than the longest memory of seconds takes."""
OF_MANY_BARS = ("rsi_14m", "macd_hist_12_26_9m", "atr_14m")
"""They remember 400 closed minute bars, more than this session has: a fold that starts within it is never sure to be equal."""
SPARSE_ON = 4_000
HOUR_NS = 3_600 * NS
NEW_YORK = Sessions(
    {"XNYS": Calendar(*(np.array([OPEN_NS + round(hours * HOUR_NS)]) for hours in (-9.5, 0, 6.5)))}, {"USA": "XNYS"}
)
KINDS = [kind.name for kind in FoldRules().bars]


@cache
def session() -> LogStretch:
    return stretch(busy_session(EVENTS))


def piece(log: LogStretch, start: int, end: int) -> LogStretch:
    """Records `start` to `end` - 1."""
    return replace(
        log, events=log.events[start:end], raw=log.raw[start:end], offsets=log.offsets[start:end],
        ts_broker=log.ts_broker[start:end],
    )  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Of one symbol; features [features, rows]; `offsets` says which record made each."""

    batch: EventBatch
    features: NDArray[np.float64]
    offsets: Integers


@dataclass(frozen=True)
class Pair:
    """Rows of one symbol folded twice; from row `since` on both folds are given the same."""

    batch: EventBatch
    found: NDArray[np.float64]
    expected: NDArray[np.float64]
    since: int


def folded(log: LogStretch) -> dict[str, Rows]:
    """By symbol, from a shard that knows nothing of what came before."""
    output = Shard(0, CountingLearner(), None, sessions=NEW_YORK).advance(log)
    rows = {}
    for number, name in enumerate(output.names):
        mine = np.flatnonzero(output.batch.symbol == number)
        batch = replace(taken(output.batch, mine), symbol=np.zeros(len(mine), output.batch.symbol.dtype))
        rows[name] = Rows(batch, output.features[:, mine], output.stretch.offsets[output.folded[mine]])
    return rows


@cache
def sparse() -> LogStretch:
    return stretch(sparse_day())


@cache
def whole(log: Callable[[], LogStretch]) -> dict[str, Rows]:
    return folded(log())


@cache
def starts(log: Callable[[], LogStretch], folded_on: int) -> list[int]:
    rng = np.random.default_rng(20131007)
    return sorted(rng.choice(len(log().events) - folded_on, STARTS, replace=False).tolist())


@cache
def from_start(log: Callable[[], LogStretch], start: int, folded_on: int) -> dict[str, Pair]:
    """Each symbol's rows as folded from `start` and from the beginning."""
    found, expected = folded(piece(log(), start, start + folded_on)), whole(log)
    return {symbol: pair(rows, expected[symbol], start, folded_on) for symbol, rows in found.items()}


def pair(mine: Rows, theirs: Rows, start: int, folded_on: int) -> Pair:
    """The rows that both have, and where their inputs agree for good.

    The first rows may differ in what they are given, not only in what is remembered: the quote that was carried forward, or
    what is late and what is a duplicate.
    """
    here = np.flatnonzero((theirs.offsets >= start) & (theirs.offsets < start + folded_on))
    both, one, two = np.intersect1d(mine.offsets, theirs.offsets[here], return_indices=True)
    rows, reference = taken(mine.batch, one), taken(theirs.batch, here[two])
    agree = np.ones(len(both), np.bool_)
    for field in fields(EventBatch):
        left, right = getattr(rows, field.name), getattr(reference, field.name)
        agree &= (left == right) | (np.isnan(left) & np.isnan(right))
    only_one = np.setxor1d(mine.offsets, theirs.offsets[here])
    since = int(np.max(np.flatnonzero(~agree), initial=-1)) + 1
    since = max(since, int(np.searchsorted(both, only_one.max(initial=-1))))
    return Pair(rows, mine.features[:, one], theirs.features[:, here[two]], since)


def taken(batch: EventBatch, rows: NDArray[Any]) -> EventBatch:
    return EventBatch(**{field.name: getattr(batch, field.name)[rows] for field in fields(EventBatch)})


def warm(name: str, rows: EventBatch, since: int) -> Flags:
    """Rows at which the memory that the feature declares reaches back no further than row `since`."""
    return np.asarray(ORACLES[type(FEATURES[name])].settled(FEATURES[name], rows, since))


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_fifty_starts_give_the_same_bits_once_the_memory_of_the_feature_is_full(name: str) -> None:
    at, compared, values = FEATURE_NAMES.index(name), 0, 0
    log, folded_on = (sparse, SPARSE_ON) if name in OF_MANY_BARS else (session, FOLDED_ON)
    for start in starts(log, folded_on):
        for symbol, both in from_start(log, start, folded_on).items():
            assert both.since < len(both.batch) // 2, f"{symbol} from {start} is given other rows for too long"
            flags = warm(name, both.batch, both.since)
            one, two = both.found[at][flags], both.expected[at][flags]
            missing = np.isnan(two)
            assert np.array_equal(np.isnan(one), missing), f"{symbol} from offset {start}"
            assert np.array_equal(one[~missing].view(np.int64), two[~missing].view(np.int64)), f"{symbol} from {start}"
            compared, values = compared + bool(flags.any()), values + int((~missing).sum())
    assert compared >= STARTS, f"only {compared} folds of {STARTS} starts were ever warm"
    assert values > 0 or "news" in name, "no value was ever compared"


def rows_of(log: LogStretch, sizes: list[int]) -> dict[str, dict[str, Any]]:
    """Every table's rows when the log comes in stretches of these sizes, and the rest at once."""
    shard = ShardMaker(FoldRules(), NEW_YORK, None)(0)
    assert isinstance(shard.learner, OnlineModel)
    maker = RowMaker("log", FEATURE_NAMES, FEATURES_ID, KINDS)
    blocks: dict[str, list[Block]] = {}
    start = 0
    for size in [*sizes, len(log.events)]:
        if start >= len(log.events):
            break
        output = shard.advance(piece(log, start, start + size))
        for table, block in maker.blocks(output).items():
            blocks.setdefault(table, []).append(block)
        start += size
    return {table: {name: plain([b[name] for b in made]) for name in made[0]} for table, made in blocks.items()}


def plain(parts: list[Any]) -> Any:
    """One column of several: numbers by their bits, words as words."""
    if isinstance(parts[0], tuple):
        return [words[code] for codes, words in parts for code in codes.tolist()]
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    column = np.concatenate(parts)
    if column.dtype == np.float64:
        column = np.where(np.isnan(column), np.nan, column)
    return column.tobytes()


def assert_same_rows(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == expected.keys()
    for table, columns in expected.items():
        for name, values in columns.items():
            assert found[table][name] == values, f"{table}.{name}"


@cache
def bad_market() -> tuple[LogStretch, dict[str, dict[str, Any]]]:
    """A log with everything that goes wrong, minutes long, and its rows when it comes at once."""
    events = stretch(market(12_000, seed=4, mean_gap_ms=60))
    rows = rows_of(events, [])
    assert {"features", "predictions", "outcomes", "bars", "ledger", "trades", "quotes", "news"} <= rows.keys()
    return events, rows


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.integers(1, 64), st.integers(1, 65_536)), max_size=200))
@example([1] * 300)
def test_any_split_gives_the_same_rows_in_every_table(sizes: list[int]) -> None:
    events, expected = bad_market()
    assert_same_rows(rows_of(events, sizes), expected)


@pytest.mark.parametrize("seed", range(3))
def test_a_session_in_random_pieces_gives_the_same_rows_in_every_table(seed: int) -> None:
    events = piece(session(), 0, 60_000)
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, np.log(65_536), 2_000)).astype(int).tolist()
    assert_same_rows(rows_of(events, sizes), rows_of(events, []))


def test_the_session_made_here_has_the_shape_that_the_proof_needs() -> None:
    events = synthetic_session(40_000)
    stamps = np.array([event.ts_event for event in events])
    assert (np.diff(stamps) >= 0).all()
    assert (np.diff(stamps) == 0).mean() > 0.3
    assert stamps[-1] - stamps[0] > 1_800 * 1_000_000_000
