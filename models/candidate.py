"""What takes part in a contest: something that is fitted to the past and then scores what came after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from models.dataset import Dataset
from models.model import Column
from models.walk_forward import Split, check_split
from schemas.errors import TrainingError

Scorer: TypeAlias = Callable[[Dataset], Column]
"""P(up) of each row, float64 `[n]`; of a row nothing may be used that was not known at its `ts`."""
Told: TypeAlias = Callable[[str, int, int], None]
"""(what is being done, how much of it, of how much)"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to make a scorer from the rows before a border."""

    name: str
    fit: Callable[[Dataset], Scorer]
    baseline: bool = False
    """It knows no market: whoever does not beat it has learnt nothing."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The rows that were tested, in order of time, and what each candidate said of them before they came true."""

    tested: Dataset
    trained_rows: int
    """In the last split."""
    scores: dict[str, Column]
    baselines: frozenset[str]


def contest(dataset: Dataset, splits: Sequence[Split], candidates: Sequence[Candidate], told: Told) -> Contest:
    """Fit every candidate on each split's past and let it score the rows after it; baselines come first.

    Raises TrainingError where a split leaks or a score is no probability.
    """
    if not splits:
        raise TrainingError("a contest needs at least one split of past and future, got none")
    for split in splits:
        check_split(dataset, split)
    ordered = sorted(candidates, key=lambda candidate: not candidate.baseline)
    scores: dict[str, list[Column]] = {candidate.name: [] for candidate in ordered}
    for at, split in enumerate(splits):
        past, after = dataset.taken(split.train), dataset.taken(split.test)
        for number, candidate in enumerate(ordered):
            told(candidate.name, at * len(ordered) + number, len(splits) * len(ordered))
            scores[candidate.name].append(_checked(candidate.name, candidate.fit(past)(after), len(after)))
    return Contest(
        tested=dataset.taken(np.concatenate([split.test for split in splits])),
        trained_rows=len(splits[-1].train),
        scores={name: np.concatenate(parts) for name, parts in scores.items()},
        baselines=frozenset(candidate.name for candidate in ordered if candidate.baseline),
    )


def _checked(name: str, p: Column, rows: int) -> Column:
    if p.shape != (rows,) or not ((p >= 0.0) & (p <= 1.0)).all():
        raise TrainingError(
            f"{name}: expected {rows} scores between 0 and 1, got shape {p.shape} with others among them"
        )
    return p
