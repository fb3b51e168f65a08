"""Training the ONNX model from what is on the log."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from infra.clock import WallClock
from infra.composition import ShardMaker, calendars, rules, sessions
from infra.log_identity import current_log, reader_of, spans
from infra.nightly.training import rows_ahead
from infra.private import private_folder
from infra.settings import Settings
from models.manifest import About, Label, Manifest, Span, TrainedOn
from models.training import TrainingSettings, train
from processors.features import FEATURE_NAMES, FEATURES_ID
from streams.history import fold_history

Told = Callable[[str, int, int], None]
"""(what is being done, how much of it, of how much)"""


def train_from_log(settings: Settings, told: Told) -> tuple[Path, Manifest]:
    """Fold every partition to its present end and train; the manifest's path. `TrainingError` where it is too little."""
    identity = current_log(settings.kafka)
    ends = spans(settings.kafka, identity)
    log = reader_of(settings.kafka, identity)
    fold_rules = rules(settings.fold)
    make = ShardMaker(fold_rules, sessions(settings.fold, calendars(settings)), None)
    history = fold_history(log, ends, make, WallClock(), lambda done, total: told("folding history", done, total))
    moved = history.labels != 0.5
    ahead = rows_ahead(history.ts[moved], fold_rules.label.horizon_ns)
    about = About(
        features=FEATURE_NAMES,
        features_id=FEATURES_ID,
        trained_on=TrainedOn(
            log_id=log.log_id, spans=tuple(Span(partition=p, start=a, end=b) for p, a, b in history.spans)
        ),
        label=Label(horizon_s=settings.fold.horizon.total_seconds()),
        created_by="tickwire",
    )
    model = train(
        np.ascontiguousarray(history.features[moved]), history.labels[moved], about, seed=settings.models.seed,
        settings=TrainingSettings(purge_rows=ahead),
        on_progress=lambda epoch, epochs, _: told("training", epoch, epochs),
    )  # fmt: skip
    directory = settings.data / "models"
    private_folder(directory)
    return model.save(directory), model.manifest
