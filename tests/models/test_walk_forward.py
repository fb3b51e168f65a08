"""Splits: nothing that is trained on has seen the test."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.baselines import baselines
from models.candidate import contest
from models.walk_forward import Split, check_split, purged_rows, split_at, walk_forward
from schemas.errors import TrainingError
from tests.models.datasets import NS, START, dataset

MARKET = dataset(1_200, symbols=2)
"""138 rows of the older half lie within 70 s of the newer: of two symbols the last 69 seconds."""


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 30), st.integers(0, 30))
def test_no_trained_label_reaches_into_its_test_and_every_row_after_the_first_part_is_tested_once(
    folds: int, horizon_s: int, bar_s: int, embargo_s: int
) -> None:
    market = replace(MARKET, horizon_ns=horizon_s * NS)
    splits = walk_forward(market, folds, bar_ns=bar_s * NS, embargo_ns=embargo_s * NS)
    gap = (horizon_s + bar_s + embargo_s) * NS
    for split in splits:
        first = min(market.ts[row] for row in split.test)
        assert split.train.tolist() == [i for i, ts in enumerate(market.ts.tolist()) if ts + gap <= first]
        check_split(market, split, bar_ns=bar_s * NS)
    tested = np.concatenate([split.test for split in splits])
    assert tested.tolist() == list(range(int(splits[0].test[0]), len(market)))
    assert len(splits) == folds


def test_an_unpurged_split_of_overlapping_labels_is_caught() -> None:
    half = len(MARKET) // 2
    leaking = Split(np.arange(half), np.arange(half, len(MARKET)))
    with pytest.raises(TrainingError, match=r"138 of 1200 rows to be trained on are not over .* purge them"):
        check_split(MARKET, leaking)
    with pytest.raises(TrainingError, match="their labels have seen the test"):
        contest(MARKET, [leaking], baselines(), lambda *_: None)


def test_a_purge_of_the_horizon_alone_is_a_bar_too_short() -> None:
    border = START + 600 * NS
    short = split_at(MARKET, border, bar_ns=0)
    with pytest.raises(TrainingError, match="are not over"):
        check_split(MARKET, short)
    check_split(MARKET, split_at(MARKET, border))


def test_training_on_what_came_after_the_test_is_caught() -> None:
    with pytest.raises(TrainingError, match="are not over"):
        check_split(MARKET, Split(np.arange(1_800, 2_000), np.arange(100, 200)))


def test_a_split_without_past_or_future_is_refused() -> None:
    with pytest.raises(TrainingError, match="leaves 0 rows to train on"):
        split_at(MARKET, START + 60 * NS)
    with pytest.raises(TrainingError, match="and 0 to test on"):
        split_at(MARKET, START + 5_000 * NS)
    with pytest.raises(TrainingError, match="cannot be divided"):
        walk_forward(MARKET.taken(slice(0, 2)), 2)
    with pytest.raises(TrainingError, match="0 rows to train on"):
        check_split(MARKET, Split(np.arange(0), np.arange(5)))


def test_rows_to_purge_are_those_of_one_horizon_and_one_bar_where_they_are_densest() -> None:
    market = MARKET.taken(np.flatnonzero((np.arange(len(MARKET)) < 400) | (np.arange(len(MARKET)) % 10 == 0)))
    reach = market.horizon_ns + 60 * NS
    naive = max(sum(1 for t in market.ts[i:] if t <= market.ts[i] + reach) for i in range(len(market)))
    assert purged_rows(market) == naive
