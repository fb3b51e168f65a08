"""Past and future of a dataset, divided so that no label of the past reaches into the future.

A label made at `ts` looks at the market until `ts + horizon`, and its features end with a bar that is still open: what is
trained on ends a purge of horizon + one bar before what is tested on. An embargo leaves out more, so that the rows on both
sides of the border are not of one and the same move. Everything is in event time, ns.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.dataset import Dataset, Integers
from schemas.errors import TrainingError

BAR_NS: Final = 60_000_000_000
"""The longest bar that a feature is made of: a minute."""
EMBARGO_NS: Final = 300_000_000_000
"""The longest rolling window of seconds among the features."""


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of what is trained on and of what is tested on, both in order of time."""

    train: Integers
    test: Integers


def walk_forward(dataset: Dataset, folds: int, *, bar_ns: int = BAR_NS, embargo_ns: int = EMBARGO_NS) -> list[Split]:
    """`folds` tests of about as many rows each, one after the other; every one is preceded by all of its past.

    The first of `folds + 1` equal parts is only trained on. Raises TrainingError where a part is empty.
    """
    n = len(dataset)
    if folds < 1 or n < folds + 1:
        raise TrainingError(f"{n} rows cannot be divided into a past and {folds} tests after it")
    borders = [int(dataset.ts[n * part // (folds + 1)]) for part in range(1, folds + 1)]
    ends = [*borders[1:], int(dataset.ts[-1]) + 1]
    return [
        split_at(dataset, border, until_ns=end, bar_ns=bar_ns, embargo_ns=embargo_ns)
        for border, end in zip(borders, ends, strict=True)
    ]


def split_at(
    dataset: Dataset, border_ns: int, *, until_ns: int | None = None, bar_ns: int = BAR_NS, embargo_ns: int = 0
) -> Split:
    """Tested is what was predicted at `border_ns` or later (and before `until_ns`); trained on is what was over before."""
    horizon = dataset.horizon_ns + bar_ns + embargo_ns
    train = np.flatnonzero(dataset.ts + horizon <= border_ns)
    after = dataset.ts >= border_ns
    test = np.flatnonzero(after if until_ns is None else after & (dataset.ts < until_ns))
    if len(train) == 0 or len(test) == 0:
        raise TrainingError(
            f"a split at {border_ns} ns leaves {len(train)} rows to train on and {len(test)} to test on; "
            "both are needed: move it, or make fewer tests"
        )
    return Split(train, test)


def check_split(dataset: Dataset, split: Split, *, bar_ns: int = BAR_NS) -> None:
    """TrainingError where a trained row's label, and one bar, reaches into the tested stretch, or comes from after it."""
    if len(split.train) == 0 or len(split.test) == 0:
        raise TrainingError(f"a split has {len(split.train)} rows to train on and {len(split.test)} to test on")
    first = int(dataset.ts[split.test].min())
    over = dataset.ts[split.train] + dataset.horizon_ns + bar_ns
    leaking = int((over > first).sum())
    if leaking:
        raise TrainingError(
            f"{leaking} of {len(split.train)} rows to be trained on are not over (horizon "
            f"{dataset.horizon_ns / 1e9:g} s and a bar of {bar_ns / 1e9:g} s) before the first tested row: "
            "their labels have seen the test; purge them (`split_at`, `walk_forward`)"
        )


def purged_rows(dataset: Dataset, *, bar_ns: int = BAR_NS) -> int:
    """How many rows at most lie within horizon + one bar: as many as a border counted in rows must leave out."""
    if len(dataset) == 0:
        return 0
    ends = np.searchsorted(dataset.ts, dataset.ts + dataset.horizon_ns + bar_ns, side="right")
    return int((ends - np.arange(len(dataset))).max())
