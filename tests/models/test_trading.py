"""The simple rule: which trades it makes, and what they earn."""

from dataclasses import replace

import numpy as np
import pytest

from models.trading import spread_of, traded
from schemas.errors import TrainingError
from tests.models.datasets import NS, START, dataset

MARKET = dataset(300, symbols=3)


def test_trades_and_profit_are_those_of_a_rule_followed_by_hand() -> None:
    rng = np.random.default_rng(0)
    p, costs = rng.random(len(MARKET)), rng.random(len(MARKET)) * 1e-4
    costs[rng.random(len(MARKET)) < 0.2] = np.nan
    found = traded(MARKET, p, costs, edge=0.2)
    free = dict.fromkeys(range(3), 0)
    for i in range(len(MARKET)):
        side = 0
        if abs(p[i] - 0.5) >= 0.2 and not np.isnan(costs[i]) and MARKET.ts[i] >= free[int(MARKET.symbol[i])]:
            side = 1 if p[i] > 0.5 else -1
            free[int(MARKET.symbol[i])] = int(MARKET.ts[i]) + 10 * NS
        assert found.side[i] == side
        assert found.gross[i] == side * MARKET.returns[i]
        assert found.net[i] == (side * MARKET.returns[i] - costs[i] if side else 0.0)
    assert 0 < found.made.sum() < len(MARKET) / 10 + 3


def test_a_position_is_closed_before_the_next_is_opened() -> None:
    found = traded(MARKET, np.ones(len(MARKET)), np.zeros(len(MARKET)))
    mine = MARKET.ts[(MARKET.symbol == 1) & found.made]
    assert mine.tolist() == [START + s * NS for s in range(0, 300, 10)]


def test_a_score_at_the_edge_is_beyond_it_on_either_side() -> None:
    p = np.resize([0.6, 0.4, 0.5], len(MARKET))
    found = traded(MARKET, p, np.zeros(len(MARKET)), edge=0.1)
    assert set(found.side[p == 0.6].tolist()) >= {1}
    assert set(found.side[p == 0.4].tolist()) >= {-1}
    assert not found.side[p == 0.5].any()


def test_no_conviction_makes_no_trade() -> None:
    found = traded(MARKET, np.full(len(MARKET), 0.55), np.zeros(len(MARKET)))
    assert not found.made.any()
    assert not found.net.any()


def test_costs_are_the_spread_of_the_moment_and_must_be_there() -> None:
    assert spread_of(MARKET).tolist() == MARKET.features[:, 3].tolist()
    with pytest.raises(TrainingError, match="'spread', which the dataset does not have"):
        spread_of(replace(MARKET, names=("a", "b", "c", "d", "e")))
