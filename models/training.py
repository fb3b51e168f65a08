"""Matrix in, artifact out: a small network trained on matured rows. Needs the extra `train`; never on the hot path."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models import manifest as manifests
from models.export import OPSET, Standardiser, export
from models.manifest import About, Canary, Manifest, Metrics
from models.model import Column, Matrix
from models.onnx import Inputs, open_session, run
from schemas.errors import TrainingError

Progress: TypeAlias = Callable[[int, int, float], None]
"""Called after each epoch with its number (from 1), the most there can be, and the loss on the validation rows."""

AGREEMENT: Final = 1e-5
FITTED, VALIDATED = 0.7, 0.15
CANARY_ROWS: Final = 8
FEWEST: Final = 20


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how a network is trained."""

    hidden: tuple[int, ...] = (32, 16)
    epochs: int = 60
    patience: int = 6
    batch: int = 256
    learning_rate: float = 1e-3
    l2: float = 1e-3
    clip: float = 8.0
    max_rows: int = 20_000
    min_rows: int = 500
    purge_rows: int = 0
    """Rows to leave out before validation and before test: as many as a label looks ahead, so that none overlaps."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """An ONNX file and what it says about itself."""

    content: bytes
    manifest: Manifest

    def save(self, directory: Path) -> Path:
        """Put both into `directory`; returns the path of the manifest, which `OnnxModel.load` takes."""
        return manifests.save(self.manifest, self.content, directory)


@dataclass(frozen=True, slots=True)
class _Split:
    """Rows in time order: oldest fitted, then validated, newest tested."""

    fit: slice
    validate: slice
    test: slice
    purged: int


def train(
    features: Matrix,
    labels: Column,
    about: About,
    *,
    seed: int = 0,
    settings: TrainingSettings | None = None,
    on_progress: Progress | None = None,
) -> TrainedModel:
    """A network trained on rows in time order: float64 `[n, F]` (NaN is missing) and `[n]` labels, each 0.0 or 1.0.

    The oldest 70% are fitted, the next 15% decide when to stop, and the newest 15% give the metrics. The same rows,
    settings and seed give the same bytes on the same processor and libraries. Raises TrainingError where the rows
    cannot teach anything, or where ONNX Runtime does not score as scikit-learn does (to 1e-5).
    """
    settings = TrainingSettings() if settings is None else settings
    _check(features, labels, about, settings)
    kept = _evenly(len(labels), settings.max_rows)
    rows, truth = np.ascontiguousarray(features[kept], dtype=np.float64), labels[kept].astype(np.int64)
    split = _split(len(rows), len(labels), settings.purge_rows)
    _check_classes(truth[split.fit])
    with threadpool_limits(limits=1):  # other threads, other order of sums, other bits
        standardiser = Standardiser.of(rows[split.fit], settings.clip)
        scores = standardiser.scores(rows)
        classifier, epochs = _fit(scores, truth, split, settings, seed, on_progress)
        content = export(classifier, standardiser)
        expected = classifier.predict_proba(scores)[:, 1].astype(np.float64)
    session = open_session(content)
    found = run(session, rows)
    difference = float(np.abs(found - expected).max())
    if not difference < AGREEMENT:
        raise TrainingError(f"ONNX Runtime differs from scikit-learn by {difference:.3g}, allowed is {AGREEMENT:g}")
    metrics = _metrics(found, truth, split, rows_given=len(labels), epochs=epochs, difference=difference)
    shown = canary_rows(rows)
    canary = Canary.of(shown, run(session, shown))
    manifest = manifests.describe(content, about, kind="mlp", opset=OPSET, canary=canary, metrics=metrics)
    return TrainedModel(content, manifest)


def _check(features: Matrix, labels: Column, about: About, settings: TrainingSettings) -> None:
    if features.ndim != 2 or labels.shape != (len(features),) or features.shape[1] != len(about.features):
        raise TrainingError(
            f"expected a matrix [n, {len(about.features)}] and n labels, got {features.shape} and {labels.shape}"
        )
    least, got = max(settings.min_rows, FEWEST), min(len(labels), settings.max_rows)
    if got < least:
        raise TrainingError(f"training needs at least {least} rows, got {got}; play more history so that labels mature")
    wrong = ~((labels == 0.0) | (labels == 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TrainingError(f"a label is 0.0 or 1.0, but row {row} has {labels[row]}; leave rows without outcome out")


def _check_classes(truth: NDArray[np.int64]) -> None:
    ups = int(truth.sum())
    if ups in (0, len(truth)):
        raise TrainingError(
            f"all {len(truth)} rows to be fitted are {'up' if ups else 'down'}; training needs both: "
            "play more history or shorten the horizon"
        )


def _evenly(rows: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` row numbers, evenly spaced, in time order."""
    if rows <= limit:
        return np.arange(rows)
    return np.arange(limit) * rows // limit


def _split(rows: int, given: int, purge_rows: int) -> _Split:
    """Borders among `rows` that stand evenly for `given`, of which `purge_rows` are left out at each border."""
    purge = -(-purge_rows * rows // given)
    fit, validate = int(rows * FITTED), int(rows * (FITTED + VALIDATED))
    if purge > min(validate - fit, rows - validate) // 2:
        raise TrainingError(
            f"leaving out {purge_rows} of {given} rows at both borders leaves too few to validate and test; "
            f"give at least {14 * purge_rows} rows or shorten the horizon"
        )
    return _Split(slice(0, fit - purge), slice(fit, validate - purge), slice(validate, rows), 2 * purge)


def _fit(
    scores: Inputs,
    truth: NDArray[np.int64],
    split: _Split,
    settings: TrainingSettings,
    seed: int,
    on_progress: Progress | None,
) -> tuple[MLPClassifier, int]:
    """The network of the epoch that did best on the validation rows, and how many epochs were run."""
    classifier = MLPClassifier(
        hidden_layer_sizes=settings.hidden,
        alpha=settings.l2,
        batch_size=min(settings.batch, split.fit.stop),
        learning_rate_init=settings.learning_rate,
        random_state=np.random.RandomState(seed),
    )
    best, best_epoch, epoch = np.inf, 0, 0
    weights: list[list[Any]] = []
    for epoch in range(1, settings.epochs + 1):
        classifier.partial_fit(scores[split.fit], truth[split.fit], classes=[0, 1])
        loss = log_loss(classifier.predict_proba(scores[split.validate])[:, 1], truth[split.validate])
        if loss < best:
            best, best_epoch = loss, epoch
            weights = [[array.copy() for array in part] for part in (classifier.coefs_, classifier.intercepts_)]
        if on_progress is not None:
            on_progress(epoch, settings.epochs, loss)
        if epoch - best_epoch >= settings.patience:
            break
    classifier.coefs_, classifier.intercepts_ = weights
    return classifier, epoch


def _metrics(
    p: Column, truth: NDArray[np.int64], split: _Split, *, rows_given: int, epochs: int, difference: float
) -> Metrics:
    tested, p = truth[split.test], p[split.test]
    habit = np.full(len(tested), truth[split.fit].mean())
    return Metrics(
        rows_given=rows_given,
        rows_fitted=split.fit.stop,
        rows_validated=split.validate.stop - split.validate.start,
        rows_tested=len(tested),
        rows_purged=split.purged,
        epochs=epochs,
        log_loss=log_loss(p, tested),
        accuracy=float(((p > 0.5) == (tested == 1)).mean()),
        base_rate=float(tested.mean()),
        base_log_loss=log_loss(habit, tested),
        largest_difference=difference,
    )


def log_loss(p: NDArray[Any], truth: NDArray[Any]) -> float:
    """Mean of -ln of what was said of what came true, in nats; `truth`: 1 up, 0 down."""
    bounded = np.clip(p.astype(np.float64), 1e-15, 1.0 - 1e-15)
    return float(-np.log(np.where(truth == 1, bounded, 1.0 - bounded)).mean())


def canary_rows(rows: Matrix) -> Matrix:
    """Rows of the kind the model will meet, one with everything missing, and one with nothing but absurd values."""
    missing, absurd = np.full((1, rows.shape[1]), np.nan), np.full((1, rows.shape[1]), 1e300)
    return np.concatenate([rows[_evenly(len(rows), CANARY_ROWS)], missing, absurd])
