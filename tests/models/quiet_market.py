"""Days on which nothing drifts, and days on which something does: synthetic features, scores and labels by the minute."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset
from models.drift import NS, Block

MINUTE: Final = 60 * NS
WINDOW: Final = 15 * MINUTE
DAY_MINUTES: Final = 1440
HALF_LIVES_S: Final = (5.0, 40.0, 150.0, 600.0)
NAMES: Final = ("return", "imbalance", "flow", "volatility")
WEIGHTS: Final = np.array([0.0, 0.6, 0.3, 0.0])
"""What the label depends on, in log odds."""


@dataclass(frozen=True)
class Day:
    """n rows in order of time, all symbols each `every_s`: features [n, 4], scores and labels [n], ts and symbol [n]."""

    features: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.float64]
    ts: NDArray[np.int64]
    symbol: NDArray[np.int64]
    symbols: tuple[str, ...]

    def dataset(self) -> Dataset:
        return Dataset(
            self.features, self.label, np.zeros(len(self.ts)), self.ts, self.symbol, self.symbols, NAMES, 10 * NS
        )

    def blocks(self, rival: NDArray[np.float64] | None = None, width: int = 4) -> Iterator[Block]:
        """As detectors get them; `width` 5 adds the score as a column."""
        rival = np.full(len(self.ts), np.nan) if rival is None else rival
        number = self.ts // MINUTE
        columns = np.column_stack([self.features, self.score])[:, :width]
        cuts = np.flatnonzero(np.diff(number)) + 1
        for rows in np.split(np.arange(len(self.ts)), cuts):
            rows = rows[np.lexsort((self.ts[rows], self.symbol[rows]))]  # noqa: PLW2901
            start = int(number[rows[0]]) * MINUTE
            yield Block(
                start, start + MINUTE, self.symbols, self.symbol[rows], columns[rows], np.ones(len(rows), np.bool_),
                self.label[rows], self.score[rows], rival[rows],
            )  # fmt: skip

    def with_score(self, weights: NDArray[np.float64]) -> "Day":
        return replace(self, score=sigmoid(self.features @ weights))


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    p: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-x))
    return p


def day(
    seed: int, *, symbols: int = 3, day_number: int = 0, every_s: int = 10, minutes: int = DAY_MINUTES,
    loud: float = 1.0, meaning: NDArray[np.float64] = WEIGHTS,
) -> Day:  # fmt: skip
    """Ornstein-Uhlenbeck features of several half-lives with heavier tails than normal, and labels drawn from them.

    loud: a factor on the features `return` and `volatility`, as when prices swing so many times as much. meaning: weights by
    which the label truly follows the features. The score is of the model that knows `WEIGHTS`.
    """
    rng = np.random.default_rng([seed, day_number])
    steps = minutes * 60 // every_s
    keep = 0.5 ** (every_s / np.array(HALF_LIVES_S))
    noise = rng.standard_normal((steps, symbols, len(NAMES))) * np.sqrt(1 - keep**2)
    x = np.empty_like(noise)
    x[0] = rng.standard_normal(noise.shape[1:])
    for i in range(1, steps):
        x[i] = keep * x[i - 1] + noise[i]
    x = np.sign(x) * np.abs(x) ** 1.3
    x *= np.array([loud, 1.0, 1.0, loud])
    features = x.reshape(steps * symbols, len(NAMES))
    label = (rng.random(len(features)) < sigmoid(features @ meaning)).astype(np.float64)
    start = day_number * DAY_MINUTES * MINUTE
    return Day(
        features, sigmoid(features @ WEIGHTS), label, np.repeat(start + np.arange(steps) * every_s * NS, symbols),
        np.tile(np.arange(symbols), steps), tuple(f"S{i:03d}" for i in range(symbols)),
    )  # fmt: skip
