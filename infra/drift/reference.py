"""The drift reference of a model: kept beside it by the nightly, or learnt from what it has said live."""

from pathlib import Path
from typing import Final

from infra.clickhouse import Database
from infra.composition import model_path
from infra.feature_rows import stored_dataset, stored_windows
from infra.nightly.plan import replaced
from infra.settings import Settings
from models.drift_reference import FEWEST_WINDOWS, Reference, reference_of
from models.input_drift import SCORE
from processors.features import FEATURE_NAMES
from schemas.errors import TrainingError

CLOCKS: Final = frozenset({"session_frac"})
"""Features that say what time it is: no drift of theirs is news."""
SUFFIX: Final = ".drift.json"
NEEDED: Final = FEWEST_WINDOWS + 1
"""Windows with outcomes before a reference is learnt: the first of them is hardly a whole one."""
LONGEST: Final = 96
"""Windows that are learnt from at most, the newest: a day of those of 900 s."""


def reference_path(settings: Settings, model_id: str) -> Path:
    """Where the drift reference of a model lies."""
    return model_path(settings).with_name(model_id + SUFFIX)


def save_reference(settings: Settings, model_id: str, reference: Reference) -> Path:
    """Keep it beside the model."""
    path = reference_path(settings, model_id)
    replaced(path, reference.encode())
    return path


def reference_for(settings: Settings, model_id: str) -> Reference | None:
    """The one that is kept; None where there is none yet."""
    path = reference_path(settings, model_id)
    return Reference.decode(path.read_bytes()) if path.exists() else None


def horizon_of(settings: Settings) -> int:
    """Of the outcomes that are watched, ns: the one that models are trained for."""
    return round(settings.fold.horizon.total_seconds() * 1e9)


def window_of(settings: Settings) -> int:
    """Of a reference that is made now, ns."""
    return round(settings.drift.window.total_seconds() * 1e9)


def learn_reference(settings: Settings, database: Database, model_id: str, seconds: float = 0) -> Path:
    """Make it from the newest `seconds` of what the model has said live, of the newest 96 windows where 0."""
    window = window_of(settings)
    dataset, scores = stored_dataset(
        database, settings.clickhouse.database, FEATURE_NAMES, model=model_id,
        seconds=seconds or LONGEST * window / 1e9, horizon_ns=horizon_of(settings),
    )  # fmt: skip
    return save_reference(settings, model_id, reference_of(dataset, window, scores={SCORE: scores}, without=CLOCKS))


def learnt_if_enough(settings: Settings, database: Database, model_id: str) -> int:
    """Learn the reference once there are 13 windows with live outcomes of one symbol; how many there are."""
    window = window_of(settings)
    found = stored_windows(database, settings.clickhouse.database, model_id, horizon_of(settings), window)
    if found >= NEEDED:
        try:
            learn_reference(settings, database, model_id)
        except TrainingError:  # features of some outcomes are not stored yet
            return NEEDED - 1
    return found
