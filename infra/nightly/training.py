"""Training on a finished matrix."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from infra.nightly.matrix import load
from infra.nightly.plan import MatrixManifest
from models import manifest as manifests
from models.dataset import Dataset, Integers
from models.manifest import About, Label, Manifest, Span, TrainedOn
from models.training import TrainedModel, TrainingSettings, train
from processors.batch import NS

MOST_ROWS: Final = 1_000_000
"""Of those with a direction, evenly spaced: 256 bytes of memory each."""
Told = Callable[[int, int], None]
"""(epochs done, most there can be)"""


def about_of(manifest: MatrixManifest) -> About:
    """What a model of this matrix says about itself."""
    plan = manifest.plan
    spans = tuple(Span(partition=span.partition, start=span.start, end=span.end) for span in plan.spans)
    return About(
        features=plan.features, features_id=plan.features_id, trained_on=TrainedOn(log_id=plan.log_id, spans=spans),
        label=Label(horizon_s=plan.horizon_ns / NS), created_by=f"tickwire nightly {plan.code}",
    )  # fmt: skip


def rows_ahead(ts: Integers, horizon_ns: int) -> int:
    """How many rows at most a label looks ahead; `ts` in order."""
    ahead = np.searchsorted(ts, ts + horizon_ns, side="right") - np.arange(len(ts))
    return int(ahead.max(initial=0))


def train_on(dataset: Dataset, about: About, seed: int, told: Told = lambda *_: None) -> TrainedModel:
    """A network trained on the rows that have a direction; no label reaches over the borders of its split.

    The same dataset and seed give the same bytes. `TrainingError` where the rows cannot teach anything.
    """
    rows = np.flatnonzero(dataset.moved)
    if len(rows) > MOST_ROWS:
        rows = rows[np.arange(MOST_ROWS) * len(rows) // MOST_ROWS]
    ts = dataset.ts[rows]
    settings = TrainingSettings(purge_rows=rows_ahead(ts, dataset.horizon_ns))
    return train(
        np.ascontiguousarray(dataset.features[rows]), dataset.label[rows], about, seed=seed, settings=settings,
        on_progress=lambda epoch, epochs, _: told(epoch, epochs),
    )  # fmt: skip


def model_directory(directory: Path) -> Path:
    """Where the model of the matrix in `directory` lies."""
    return directory / "model"


def found_model(directory: Path) -> Manifest | None:
    """The model that was trained on the matrix; None where none was."""
    path = model_directory(directory) / manifests.manifest_name("mlp")
    return manifests.load(path) if path.exists() else None


def train_matrix(directory: Path, manifest: MatrixManifest, told: Told) -> Manifest:
    """Train on the matrix and keep the model beside it."""
    model = train_on(load(directory), about_of(manifest), manifest.plan.seed, told)
    model.save(model_directory(directory))
    return model.manifest
