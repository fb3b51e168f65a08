"""A model that learns while it scores: River's logistic regression on standardised features."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numba import njit
from numpy.typing import NDArray

from models.model import Column, Matrix
from models.numbers import Numbers
from schemas.errors import ModelError

STEP_ROWS: Final = 256
"""The step we recommend: this many matured labels to one `learn`."""
FORMAT: Final = 1
DIGEST: Final = 16
RIVER: Final = version("river")


class OnlineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how an `OnlineModel` learns; part of its id."""

    learning_rate: float = 0.1
    intercept_rate: float = 0.1
    l2: float = 1e-4
    clip: float = 8.0


class OnlineModel:
    """`MarketScaler | Clip | LogisticRegression` of River, learning one gradient step per batch of matured rows.

    Scoring does not pass through River: after each step its numbers are read out into arrays, and a compiled kernel
    scores row by row in a fixed order, so a row's score does not depend on its batch. It equals River's to 1e-12.
    Before the first step every score is 0.5. One model serves one partition; it is not safe for use by two threads.
    """

    name: Final = "online"

    def __init__(self, features: Sequence[str], settings: OnlineSettings | None = None) -> None:
        if not features or len(set(features)) != len(features):
            raise ModelError(f"an online model needs distinct feature names, got {list(features)}")
        self.features: Final = tuple(features)
        self.settings: Final = OnlineSettings() if settings is None else settings
        self.id: Final = _identity(self.features, self.settings)
        self.steps = 0
        self.rows = 0
        self._numbers = Numbers.start(len(self.features))
        self._pipeline: Any = None
        self._read_out()
        self.score(np.zeros((1, len(self.features))))  # compiles (or loads) the kernel here, not before the first event

    @property
    def pipeline(self) -> Any:
        """River's pipeline, with the present numbers; made when it is first asked for."""
        if self._pipeline is None:
            from models.learning import pipeline_of  # noqa: PLC0415 (River takes a second to import, and scoring needs it not)

            self._pipeline = pipeline_of(self.settings, self.features, self._numbers)
        return self._pipeline

    def score(self, features: Matrix) -> Column:
        """P(up) of each row: float64 `[n, F]` in, float64 `[n]` out; NaN and infinities count as missing (z = 0)."""
        self._check_width(features)
        rows = np.ascontiguousarray(features, dtype=np.float64)
        scores = np.empty(len(rows))
        _score(rows, self._means, self._inverse, self._weights, self._intercept, self.settings.clip, scores)
        return scores

    def learn(self, features: Matrix, labels: Column) -> None:
        """Take one gradient step on `[n, F]` matured rows and their `[n]` labels, each 0.0 or 1.0.

        Raises ModelError for an empty step, a wrong shape or any other label; the model is then unchanged.
        """
        self._check_width(features)
        _check_labels(features, labels)
        from models.learning import learn  # noqa: PLC0415

        self._numbers = learn(self.pipeline, self.features, features, labels)
        self.steps += 1
        self.rows += len(features)
        self._read_out()

    def snapshot(self) -> bytes:
        """The state as bytes: a digest, then MessagePack with the arrays raw; the same state gives the same bytes."""
        numbers = self._numbers
        state = _State(
            format=FORMAT,
            id=self.id,
            river=RIVER,
            features=self.features,
            steps=self.steps,
            rows=self.rows,
            iterations=numbers.iterations,
            intercept=numbers.intercept,
            counts=numbers.counts.astype("<i8").tobytes(),
            means=numbers.means.astype("<f8").tobytes(),
            variances=numbers.variances.astype("<f8").tobytes(),
            weights=numbers.weights.astype("<f8").tobytes(),
        )
        payload = msgspec.msgpack.encode(state)
        return _digest(payload) + payload

    @classmethod
    def restore(cls, snapshot: bytes, features: Sequence[str], settings: OnlineSettings | None = None) -> "OnlineModel":
        """The model that `snapshot` was taken from.

        Raises ModelError where the bytes are torn, or were made by other features, settings or version of River.
        """
        model = cls(features, settings)
        state = _decoded(snapshot)
        _check_origin(state, model)
        counts, means, variances, weights = _arrays(state, len(model.features))
        model._numbers = Numbers(counts, means, variances, weights, state.intercept, state.iterations)
        model.steps, model.rows = state.steps, state.rows
        model._read_out()
        return model

    def _check_width(self, features: Matrix) -> None:
        if features.ndim != 2 or features.shape[1] != len(self.features):
            raise ModelError(f"{self.id} takes rows of {len(self.features)} features, got shape {features.shape}")

    def _read_out(self) -> None:
        """Copy the numbers into what the kernel reads."""
        numbers = self._numbers
        deviations = np.sqrt(numbers.variances)
        self._means, self._weights, self._intercept = numbers.means, numbers.weights, numbers.intercept
        self._inverse = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=deviations > 0.0)
        if not (
            np.isfinite(self._weights).all() and np.isfinite([*self._means, *self._inverse, self._intercept]).all()
        ):
            raise ModelError(f"{self.id} holds a value that is not finite after step {self.steps}; start it anew")


Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**48)]


class _State(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    format: int
    id: str
    river: str
    features: tuple[str, ...]
    steps: Count
    rows: Count
    iterations: Count
    intercept: float
    counts: bytes
    means: bytes
    variances: bytes
    weights: bytes


@njit(cache=True)
def _score(rows, means, inverse, weights, intercept, limit, out):  # type: ignore[no-untyped-def]
    for i in range(rows.shape[0]):
        logit = 0.0
        for j in range(rows.shape[1]):
            value = rows[i, j]
            if np.isfinite(value):
                z = (value - means[j]) * inverse[j]
                logit += min(max(z, -limit), limit) * weights[j]
        out[i] = 1.0 / (1.0 + np.exp(-(logit + intercept)))


def _identity(features: tuple[str, ...], settings: OnlineSettings) -> str:
    described = msgspec.json.encode([FORMAT, RIVER, features, settings])
    return f"online-{hashlib.sha256(described).hexdigest()[:12]}"


def _check_labels(features: Matrix, labels: Column) -> None:
    if labels.shape != (len(features),) or len(features) == 0:
        raise ModelError(f"a step takes one label a row and at least one row, got {features.shape} and {labels.shape}")
    wrong = ~((labels == 0.0) | (labels == 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ModelError(f"a label is 0.0 or 1.0, but row {row} of the step has {labels[row]}")


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=DIGEST).digest()


def _decoded(snapshot: bytes) -> _State:
    digest, payload = snapshot[:DIGEST], snapshot[DIGEST:]
    if digest != _digest(payload):
        raise ModelError(f"a snapshot of {len(snapshot)} bytes is torn or altered; use an older one or replay the log")
    try:
        return msgspec.msgpack.decode(payload, type=_State)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ModelError(f"a snapshot is not of format {FORMAT}: {error}; replay the log") from error


def _check_origin(state: _State, model: OnlineModel) -> None:
    if state.format != FORMAT or state.river != RIVER:
        raise ModelError(
            f"snapshot of format {state.format} by River {state.river}, this is format {FORMAT} "
            f"and River {RIVER}: other bits would follow; replay the log"
        )
    if state.features != model.features:
        raise ModelError(
            f"snapshot {state.id} was learnt on {len(state.features)} features, the stream has {len(model.features)}"
            f"; they differ at {_first_difference(state.features, model.features)}; replay the log"
        )
    if state.id != model.id:
        raise ModelError(f"snapshot {state.id} was learnt with other settings than {model.id}; replay the log")


def _first_difference(left: tuple[str, ...], right: tuple[str, ...]) -> str:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return f"column {index}: {a!r} there, {b!r} here"
    return f"column {min(len(left), len(right))}: one list ends"


def _arrays(state: _State, width: int) -> tuple[NDArray[np.int64], Column, Column, Column]:
    """Counts, means, variances and weights, each `[width]`."""
    for field in (state.counts, state.means, state.variances, state.weights):
        if len(field) != 8 * width:
            raise ModelError(f"snapshot {state.id} holds {len(field) // 8} values where {width} belong; replay the log")
    counts = np.frombuffer(state.counts, dtype="<i8").astype(np.int64)
    means, variances, weights = (
        np.frombuffer(field, dtype="<f8").astype(np.float64) for field in (state.means, state.variances, state.weights)
    )
    if (counts < 0).any() or not (variances >= 0.0).all():
        raise ModelError(f"snapshot {state.id} holds a count or a variance below zero; replay the log")
    return counts, means, variances, weights
