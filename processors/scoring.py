"""Scores of a batch: learning between two of its rows where the count of matured labels says so, and models that change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.batch import Integers, Matrix
from processors.labels import Matured
from processors.roster import Load, Roster, Turn, line_up, no_models, quarantined, turned
from processors.scores import (
    NO_MODEL,
    SCORES,
    Learner,
    LineUp,
    Model,
    Scores,
    Warm,
    no_warm_start,
    seen_by_clients,
)
from schemas.control import REMOTE, ModelChange
from schemas.errors import ModelError

NO_PROBABILITY: Final = "a score that is no probability"


@dataclass(frozen=True, slots=True)
class Asked:
    """A change of the models, in force from row `before` of the batch on; `event` of the stretch said it."""

    before: int
    event: int
    change: ModelChange


@dataclass(frozen=True, slots=True)
class Changed:
    """A change, and who scores after it; `event` of the stretch made it. `refused`: why it changed nothing."""

    event: int
    change: ModelChange
    refused: str
    line_up: LineUp


@dataclass(frozen=True, slots=True)
class Step:
    """What changes the learner before row `before` of the batch, by `event` of the stretch: a lesson, or a warm start."""

    event: int
    before: int
    what: Matrix | ModelChange
    """[step_size, features + 1]: features and label."""


@dataclass(slots=True)
class Scoring:
    """The models of one partition and the labels that wait for the next learning step."""

    learner: Learner
    onnx: Model | None
    """The one that serves until a change names another."""
    champion: str
    features: int
    step_size: int
    load: Load = no_models
    warm: Warm = no_warm_start
    roster: Roster = field(init=False)
    line_ups: list[LineUp] = field(init=False)
    """Every one that there was, in order; parked predictions name theirs by number."""
    waiting: Matrix = field(init=False)
    """[step_size, features + 1]: features and label."""
    count: NDArray[np.int64] = field(init=False)
    _loaded: dict[str, Model] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roster = Roster.start(self.champion)
        self.line_ups = []
        self.waiting = np.zeros((self.step_size, self.features + 1))
        self.count = np.zeros(1, np.int64)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered beside the learner and the roster."""
        return (self.waiting, self.count)

    def restore(self, roster: Roster | None, line_ups: Sequence[LineUp]) -> None:
        """Go on where these were remembered."""
        self.roster, self.line_ups = roster or self.roster, list(line_ups)

    @property
    def given(self) -> str:
        """Id of the model that serves until a change names another."""
        return self.onnx.id if self.onnx is not None else ""

    def score(
        self, matrix: Matrix, matured: Matured, asked: Sequence[Asked], events: Integers
    ) -> tuple[Scores, list[Changed]]:
        """Score every row with what was known before it, by the models that were in force before it.

        events: of each row, its place in the stretch.
        """
        rows = len(matrix)
        by_model, steps, told = np.full((rows, SCORES), np.nan), np.empty(rows, np.int64), np.zeros(rows, np.int64)
        p_up = np.full(rows, np.nan)
        unfit = self._learn_and_score(matrix, matured, asked, by_model, steps)
        changed: list[Changed] = []
        start = 0
        for edge in (*asked, None):
            stop = rows if edge is None else edge.before
            while start < stop:
                start = self._score_until(matrix, by_model, p_up, told, start, stop, events, changed)
            if edge is not None:
                turn = self._turn(edge, unfit)
                self._take(turn.roster)
                changed.append(Changed(edge.event, turn.change, turn.refused, line_up(self.roster, self.given)))
        return Scores(by_model, p_up, steps, told, self.line_ups), changed

    def _turn(self, asked: Asked, unfit: Mapping[int, str]) -> Turn:
        if asked.change.action == "warm":
            return Turn(asked.change, self.roster, unfit.get(asked.event, ""))
        return turned(self.roster, asked.change, self._get, self.given)

    def _learn_and_score(
        self, matrix: Matrix, matured: Matured, asked: Sequence[Asked], by_model: Matrix, steps: Integers
    ) -> Mapping[int, str]:
        """Labels that matured before row i are learnt before row i; a warm start is in force from its row on.

        Returns why warm starts were refused, by their event.
        """
        start, unfit = 0, dict[int, str]()
        warm = [Step(each.event, each.before, each.change) for each in asked if each.change.action == "warm"]
        for step in sorted([*self._lessons(matured), *warm], key=lambda step: step.event):
            self._score_online(matrix, by_model, steps, start, step.before)
            if isinstance(step.what, ModelChange):
                try:
                    self.learner = self.warm(step.what)
                except ModelError as error:
                    unfit[step.event] = str(error)
            else:
                self.learner.learn(np.ascontiguousarray(step.what[:, :-1]), np.ascontiguousarray(step.what[:, -1]))
            start = step.before
        self._score_online(matrix, by_model, steps, start, len(matrix))
        return unfit

    def _score_until(
        self, matrix: Matrix, by_model: Matrix, p_up: NDArray[Any], told: Integers, start: int, stop: int,
        events: Integers, changed: list[Changed],
    ) -> int:  # fmt: skip
        """Score rows by one line-up, up to the first row with which a model is quarantined; where the next one begins."""
        now = line_up(self.roster, self.given)
        if not self.line_ups or self.line_ups[-1] != now:
            self.line_ups.append(now)
        wrong: dict[int, list[str]] = {}
        for column, name in enumerate(now.models):
            if column == 0 or name in ("", NO_MODEL):
                continue
            scores = self._named(name).score(matrix[start:stop])
            valid = (scores >= 0.0) & (scores <= 1.0)
            by_model[start:stop, column] = np.where(valid, scores, np.nan)
            if not valid.all() and not name.startswith(REMOTE):  # a server's silence is on no log
                wrong.setdefault(start + int(np.argmin(valid)), []).append(name)
        first = min(wrong, default=stop - 1)
        by_model[first + 1 : stop, 1:] = np.nan
        told[start : first + 1] = len(self.line_ups) - 1
        p_up[start : first + 1] = seen_by_clients(by_model[start : first + 1], now.champion)
        out = wrong.get(first, ())
        for name in out:
            self._take(quarantined(self.roster, name, self.given))
        for name in out:
            change = ModelChange(action="quarantine", model=name, by="the fold", why=NO_PROBABILITY)
            changed.append(Changed(int(events[first]), change, "", line_up(self.roster, self.given)))
        return first + 1

    def _named(self, name: str) -> Model:
        model = self._get(name)
        if model is None:
            raise ModelError(
                f"{name} scores by the log's word, but its file is gone or altered; put it back into the models directory"
            )
        return model

    def _take(self, roster: Roster) -> None:
        """Go on with it; models that neither score nor are the next to fall back to are let go."""
        self.roster = roster
        kept = {*line_up(roster, self.given).models, *(served.onnx for served in roster.before[-1:])}
        self._loaded = {name: model for name, model in self._loaded.items() if name in kept}

    def _get(self, name: str) -> Model | None:
        """A model by its id, loaded once as long as it is in use."""
        if name == self.given:
            return self.onnx
        if name not in self._loaded and (found := self.load(name)) is not None:
            self._loaded[name] = found
        return self._loaded.get(name)

    def _lessons(self, matured: Matured) -> list[Step]:
        """Every learning step of step_size labels; what is left over waits.

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
            lesson = labels[step * self.step_size : (step + 1) * self.step_size]
            lessons.append(Step(int(matured.event[last]), int(matured.before[last]), lesson))
        self.waiting[: len(rest)] = rest
        self.waiting[len(rest) :] = 0.0  # what is remembered must not depend on where the log was cut
        self.count[0] = len(rest)
        return lessons

    def _score_online(self, matrix: Matrix, by_model: Matrix, steps: Integers, start: int, stop: int) -> None:
        steps[start:stop] = self.learner.steps
        if stop > start:
            by_model[start:stop, 0] = self.learner.score(matrix[start:stop])
