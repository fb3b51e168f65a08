"""What every model must beat: nothing, the habit of the past, the last move, and a straight line. Needs the extra `train`."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.candidate import Candidate, Scorer
from models.dataset import Dataset
from models.evaluation import BASE_RATE
from models.export import Standardiser
from models.model import Column
from schemas.errors import TrainingError

CLIP: Final = 8.0
UNKNOWN: Final = 3
"""Where no move of the symbol is over yet; the other cells are 0 down, 1 unchanged, 2 up."""


def baselines() -> list[Candidate]:
    """In the order in which they stand above every table."""
    return [
        Candidate("always flat", lambda _: lambda after: np.full(len(after), 0.5), baseline=True),
        Candidate(BASE_RATE, base_rate, baseline=True),
        Candidate("last sign", last_sign, baseline=True),
        Candidate("logistic regression", logistic, baseline=True),
    ]


def base_rate(past: Dataset) -> Scorer:
    """Always the past's share of ups among the rows that moved."""
    share = float(_directed(past).label.mean())
    return lambda after: np.full(len(after), share)


def last_sign(past: Dataset) -> Scorer:
    """The past's share of ups after the last move of the symbol that was over was down, none, up, or not known."""
    cell, moved = last_moves(past), past.moved
    share = base_rate(past)(past.taken(slice(0, 1)))[0]
    ups = np.bincount(cell[moved], past.label[moved], minlength=UNKNOWN + 1)
    rows = np.bincount(cell[moved], minlength=UNKNOWN + 1)
    shares = (ups + share) / (rows + 1.0)  # one row of the habit, so that an empty cell has a share too
    return lambda after: np.asarray(shares[last_moves(after)])


def last_moves(dataset: Dataset) -> NDArray[np.int64]:
    """Cell of each row, int64 [n], by the newest row of its symbol whose horizon was over at the row's `ts`."""
    cell = np.full(len(dataset), UNKNOWN, np.int64)
    newest = np.full(len(dataset.symbols), UNKNOWN, np.int64)
    _last_moves(dataset.ts, dataset.symbol, dataset.label, dataset.horizon_ns, newest, cell)
    return cell


def logistic(past: Dataset) -> Scorer:
    """Logistic regression (L2, C = 1) on standard scores, a missing value at the mean."""
    directed = _directed(past)
    standardiser = Standardiser.of(directed.features, CLIP)
    with threadpool_limits(limits=1):
        line = LogisticRegression(max_iter=1_000).fit(
            standardiser.scores(directed.features), directed.label.astype(int)
        )

    def score(after: Dataset) -> Column:
        p: Column = line.predict_proba(standardiser.scores(after.features))[:, 1].astype(np.float64)
        return p

    return score


def _directed(past: Dataset) -> Dataset:
    directed = past.taken(past.moved)
    if len(directed) == 0 or directed.label.min() == directed.label.max():
        raise TrainingError(
            f"{len(directed)} rows with a direction, not both up and down: nothing can be fitted to them"
        )
    return directed


@njit(cache=True)
def _last_moves(ts, symbol, label, horizon, newest, cell):  # type: ignore[no-untyped-def]
    over = 0
    for i in range(len(ts)):
        while ts[over] + horizon < ts[i]:
            newest[symbol[over]] = 0 if label[over] == 0.0 else (2 if label[over] == 1.0 else 1)
            over += 1
        cell[i] = newest[symbol[i]]
