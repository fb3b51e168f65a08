"""The alarm for results that are too good to be true: at these horizons the reason is a leak, not a discovery."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.dataset import Dataset
from models.evaluation import Evaluation
from models.model import Column

BEST_HIT_RATE: Final = 0.9
BEST_INFORMATION: Final = 0.6
BEST_AUC: Final = 0.95
FEWEST: Final = 100
"""A feature with fewer values than this among the rows that moved is not judged."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Who or what is too good, and by which measure."""

    source: str
    measure: str
    value: float
    limit: float

    def __str__(self) -> str:
        return (
            f"{self.source}: {self.measure} {self.value:.3f}, beyond {self.limit:g}; "
            "look for the future among the features before believing it"
        )


def too_good(evaluations: list[Evaluation]) -> list[Alarm]:
    """Candidates whose whole interval lies beyond what markets allow."""
    alarms = []
    for each in evaluations:
        if each.hit_rate.low > BEST_HIT_RATE:
            alarms.append(Alarm(each.name, "hit rate", each.hit_rate.value, BEST_HIT_RATE))
        if each.information.low > BEST_INFORMATION:
            alarms.append(Alarm(each.name, "information coefficient", each.information.value, BEST_INFORMATION))
    return alarms


def telling_features(dataset: Dataset) -> list[Alarm]:
    """Features that tell ups from downs by themselves, in either direction (area under the ROC curve)."""
    moved = dataset.moved
    features, up = dataset.features[moved], dataset.label[moved] == 1.0
    alarms = []
    for column, name in enumerate(dataset.names):
        area = _area(features[:, column], up)
        told = max(area, 1.0 - area)
        if told > BEST_AUC:
            alarms.append(Alarm(f"feature {name}", "area under its ROC curve", told, BEST_AUC))
    return alarms


def _area(values: Column, up: NDArray[np.bool_]) -> float:
    """Chance that an up has a higher value than a down; 0.5 where there is too little to say."""
    present = np.isfinite(values)
    values, up = values[present], up[present]
    ups, downs = int(up.sum()), int((~up).sum())
    if min(ups, downs) == 0 or ups + downs < FEWEST:
        return 0.5
    return float((rankdata(values)[up].sum() - ups * (ups + 1) / 2) / (ups * downs))
