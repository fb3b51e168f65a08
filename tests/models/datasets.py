"""Datasets for tests: a market of some symbols, second by second, whose first feature may know something of the future."""

from dataclasses import replace

import numpy as np

from models.dataset import Dataset
from models.manifest import About, Label, TrainedOn

NS = 1_000_000_000
START = 1_381_152_600 * NS
HORIZON_S = 10
NAMES = ("hint", "noise_a", "noise_b", "spread", "gappy")


def dataset(seconds: int = 6_000, *, symbols: int = 2, hint: float = 0.0, seed: int = 0, dead: float = 0.1) -> Dataset:
    """`hint`: weight of the true return in the feature of that name; `dead`: share of rows without a direction."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 1e-4, (seconds + HORIZON_S, symbols))
    path = np.cumsum(steps, axis=0)
    returns = (path[HORIZON_S:] - path[:-HORIZON_S]).ravel()
    n = len(returns)
    band = np.quantile(np.abs(returns), dead)
    label = np.where(np.abs(returns) <= band, 0.5, (returns > 0).astype(np.float64))
    features = rng.normal(size=(n, len(NAMES)))
    features[:, 0] += hint * returns / returns.std()
    features[:, 3] = 1e-5
    features[rng.random(n) < 0.3, 4] = np.nan
    return Dataset(
        features=features, label=label, returns=returns, ts=np.repeat(START + np.arange(seconds) * NS, symbols),
        symbol=np.tile(np.arange(symbols), seconds), symbols=[f"S{s}" for s in range(symbols)], names=NAMES,
        horizon_ns=HORIZON_S * NS,
    )  # fmt: skip


def shuffled(market: Dataset, seed: int = 0) -> Dataset:
    """The same rows with labels and returns of other rows."""
    order = np.random.default_rng(seed).permutation(len(market))
    return replace(market, label=market.label[order], returns=market.returns[order])


def about(market: Dataset) -> About:
    return About(
        features=tuple(market.names),
        features_id="9f3c",
        trained_on=TrainedOn(log_id="test", spans=()),
        label=Label(horizon_s=market.horizon_ns / 1e9),
        created_by="tests",
    )
