"""What models are to the fold, and the scores that they gave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from msgspec import Struct

from processors.batch import Column, Integers, Matrix
from schemas.control import ModelChange
from schemas.errors import ModelError

ONLINE: Final = "online"
NO_MODEL: Final = "none"
"""What rows name where no ONNX model scores."""
CHALLENGERS: Final = 4
"""Most models that score beside the online one and the serving one."""
SCORES: Final = 2 + CHALLENGERS
"""Columns of scores: online, the serving ONNX model, the challengers by place."""


class Model(Protocol):
    """Scores a matrix."""

    @property
    def id(self) -> str:
        """Which model this is, as rows name it."""

    def score(self, features: Matrix) -> Column:
        """Probability of up per row, float64 [n]; `features`: float64 [n, features], C-contiguous, NaN missing.

        The bits of a row's score must not depend on the rows beside it.
        """


class Learner(Model, Protocol):
    """A model that learns from matured labels, and whose state is part of the shard's."""

    @property
    def steps(self) -> int:
        """How often it has learnt."""

    def learn(self, features: Matrix, labels: Column) -> None:
        """One step on matured rows; labels 0 or 1."""

    def snapshot(self) -> bytes:
        """Everything learnt."""


Warm: TypeAlias = Callable[[ModelChange], Learner]
"""The learner that a warm start brings; `ModelError`, which says why, where it does not fit."""


def no_warm_start(_: ModelChange) -> Learner:
    """Nothing but the learner that the fold was given."""
    raise ModelError("no warm start is taken here")


class LineUp(Struct, frozen=True, array_like=True):
    """Who scored a row: which of `online` and `onnx` clients see first, and the ids of the ONNX models."""

    champion: str
    onnx: str
    challengers: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """By column of the scores."""
        return (ONLINE, self.onnx, *self.challengers)


@dataclass(frozen=True, slots=True)
class Scores:
    """Per row, NaN where a model has none.

    by_model  [rows, SCORES]                p_up    [rows], what clients see
    steps     learning steps behind the online score
    line_up   which of `line_ups` scored the row
    """

    by_model: Matrix
    p_up: Column
    steps: Integers
    line_up: Integers
    line_ups: Sequence[LineUp]


def seen_by_clients(by_model: Matrix, champion: str) -> Column:
    """The champion's score, else the other's."""
    first, second = (0, 1) if champion == ONLINE else (1, 0)
    return np.where(np.isfinite(by_model[:, first]), by_model[:, first], by_model[:, second])
