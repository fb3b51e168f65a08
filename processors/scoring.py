"""Scores of a batch, with learning between two of its rows where the count of matured labels says so."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from processors.batch import Column, Integers, Matrix
from processors.labels import SCORES, Matured


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


@dataclass(frozen=True, slots=True)
class Scores:
    """Per row, NaN where a model has none: [rows, SCORES] online and onnx; learning steps behind the online score."""

    by_model: Matrix
    p_up: Column
    steps: Integers


@dataclass(slots=True)
class Scoring:
    """The models of one partition and the labels that wait for the next learning step."""

    learner: Learner
    onnx: Model | None
    champion: str
    """`online` or `onnx`: whose score clients see; the other stands in where it has none."""
    features: int
    step_size: int
    waiting: Matrix = field(init=False)
    """[step_size, features + 1]: features and label."""
    count: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = np.zeros((self.step_size, self.features + 1))
        self.count = np.zeros(1, np.int64)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered beside the learner."""
        return (self.waiting, self.count)

    def score(self, matrix: Matrix, matured: Matured) -> Scores:
        """Score every row with what was known before it: labels that matured before row i are learnt before row i."""
        rows = len(matrix)
        by_model = np.full((rows, SCORES), np.nan)
        steps = np.empty(rows, np.int64)
        start = 0
        for before, lesson in self._lessons(matured):
            self._score_online(matrix, by_model, steps, start, before)
            self.learner.learn(np.ascontiguousarray(lesson[:, :-1]), np.ascontiguousarray(lesson[:, -1]))
            start = before
        self._score_online(matrix, by_model, steps, start, rows)
        if self.onnx is not None and rows:
            by_model[:, 1] = self.onnx.score(matrix)
        return Scores(by_model, self._seen_by_clients(by_model), steps)

    def _lessons(self, matured: Matured) -> list[tuple[int, Matrix]]:
        """(rows before it, step_size labels) of every learning step; what is left over waits.

        Unchanged prices and void labels teach nothing.
        """
        taught = np.flatnonzero((matured.label == 0.0) | (matured.label == 1.0))
        waited = int(self.count[0])
        told = np.column_stack([matured.features[taught], matured.label[taught]])
        labels = np.concatenate([self.waiting[:waited], told])
        steps = len(labels) // self.step_size
        rest = labels[steps * self.step_size :]
        lessons = []
        for step in range(steps):
            last = taught[(step + 1) * self.step_size - waited - 1]
            lessons.append((int(matured.before[last]), labels[step * self.step_size : (step + 1) * self.step_size]))
        self.waiting[: len(rest)] = rest
        self.count[0] = len(rest)
        return lessons

    def _score_online(self, matrix: Matrix, by_model: Matrix, steps: Integers, start: int, stop: int) -> None:
        steps[start:stop] = self.learner.steps
        if stop > start:
            by_model[start:stop, 0] = self.learner.score(matrix[start:stop])

    def _seen_by_clients(self, by_model: Matrix) -> Column:
        first, second = (0, 1) if self.champion == "online" else (1, 0)
        return np.where(np.isfinite(by_model[:, first]), by_model[:, first], by_model[:, second])
