"""Days as the drift watch reads them: outcomes by partition, the store behind them, and what is said of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from models.drift import NS, DriftRules
from models.drift_reference import reference_of
from models.input_drift import SCORE
from models.promotion import TrialRules
from models.retraining import RetrainRules
from schemas.drift import DriftEvent
from schemas.rows import Outcome
from streams.drift_watch import DriftWatch, Watched, WatchRules
from tests.models.quiet_market import NAMES, WINDOW, Day, day, sigmoid

Floats = NDArray[np.float64]
HORIZON = 10 * NS
PARTITIONS = 3
RULES = WatchRules(
    drift=DriftRules(least_labels=6),
    trial=TrialRules(least_labels=1000),
    retrain=RetrainRules(cool_down_ns=6 * 3600 * NS),
)


@dataclass
class World:
    """A day as outcomes by partition (one symbol each), and the store that knows the features behind them."""

    day: Day
    challenger: Floats = field(default_factory=lambda: np.full(4, np.nan))
    """Weights of the model on trial."""
    lost: float = 0.0
    """Share of rows that the store does not know."""
    model: str = "m1"
    """The one that serves."""

    def rows(self, outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
        assert tuple(names) == NAMES
        at = [outcome.predicted_offset for outcome in outcomes]
        return self.day.features[at], np.array([row % 100 >= 100 * self.lost for row in at])

    def outcome(self, row: int) -> Outcome:
        one, rival = self.day, float(sigmoid(self.day.features[row] @ self.challenger))
        ts = int(one.ts[row])
        return Outcome(
            symbol=one.symbols[one.symbol[row]], ts_event=ts, ts_matured=ts + HORIZON, horizon_ns=HORIZON, log_id="log",
            src_partition=int(one.symbol[row]), src_offset=row, predicted_offset=row, price=1.0, price_matured=1.0,
            log_return=0.0, label=float(one.label[row]), online=None, onnx=float(one.score[row]), onnx_id=self.model,
            challengers={} if np.isnan(rival) else {"c1": rival},
        )  # fmt: skip

    def polls(self, size: int) -> Iterator[tuple[int, list[Outcome]]]:
        """Turn by turn `size` outcomes of a partition."""
        by_partition = [np.flatnonzero(self.day.symbol == each) for each in range(PARTITIONS)]
        for at in range(0, len(by_partition[0]), size):
            for partition in range(PARTITIONS):
                yield partition, [self.outcome(int(row)) for row in by_partition[partition][at : at + size]]


@pytest.fixture(scope="module")
def watched() -> Watched:
    first = day(1)
    promised = -np.log(np.where(first.label == 1, first.score, 1 - first.score)).mean()
    return Watched("m1", reference_of(first.dataset(), WINDOW, scores={SCORE: first.score}), float(promised))


def run(watch: DriftWatch, world: World, size: int = 60) -> list[DriftEvent]:
    """Read to the end, `size` outcomes of a partition at a time, and settle after each."""
    said: list[DriftEvent] = []
    left = [int((world.day.symbol == each).sum()) for each in range(PARTITIONS)]
    for partition, outcomes in world.polls(size):
        watch.take(partition, outcomes, world)
        left[partition] -= len(outcomes)
        said += watch.settle([each for each in range(PARTITIONS) if left[each]])
    return said


def of(kind: type, said: list[DriftEvent]) -> list[DriftEvent]:
    return [each for each in said if isinstance(each, kind)]
