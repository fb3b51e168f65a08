"""How long models take in the scoring process, and what is done about one that takes too long or too much.

A clock decides here, so nothing of it may reach the fold by another way than the log: what is decided is a control event.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from infra.settings import Models
from processors.batch import Column, Matrix
from processors.scores import Model
from schemas.control import REMOTE, ModelChange
from schemas.errors import DeliveryError
from streams.ports import Meter

FEWEST_ROWS: Final = 64
"""Fewer rows in a round say nothing of a model's speed, unless a server was waited for."""
ROUND_S: Final = 1.0
STALLED_S: Final = 0.2
"""Seconds of a round in which a server holds up the flow, however few rows it was asked for."""
ROUNDS: Final = 3
"""So many rounds in a row are too slow, or under load, before something is done."""


AGAIN: Final = 10
"""Rounds after which a quarantine that is not in force yet is asked for again."""


@dataclass
class Spent:
    """Of one model since the last round."""

    seconds: float = 0.0
    rows: int = 0


@dataclass
class _Timed:
    model: Model
    watch: "ModelWatch"

    @property
    def id(self) -> str:
        return self.model.id

    def score(self, features: Matrix) -> Column:
        began = time.perf_counter()
        scores = self.model.score(features)
        self.watch.note(self.model.id, time.perf_counter() - began, len(features))
        return scores


@dataclass
class ModelWatch:
    """Times models; `look`, called once a round, says what has to change.

    A model that needs more than `settings.slowest_us` a row, round after round, is quarantined, and so is one whose server
    is away or wrong. While more than `settings.shed_lag` records wait, round after round, the newest challenger is retired:
    clients come first.
    """

    settings: Models
    meter: Meter
    _spent: dict[str, Spent] = field(default_factory=dict)
    _slow: dict[str, int] = field(default_factory=dict)
    _faults: dict[str, str] = field(default_factory=dict)
    _asked: dict[str, int] = field(default_factory=dict)
    _loaded: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, model: Model | None) -> Model | None:
        """The model, with its time taken."""
        return None if model is None else _Timed(model, self)

    def note(self, model: str, seconds: float, rows: int) -> None:
        """One call of a model."""
        self.meter.observe("tickwire_model_score_seconds", seconds, model=model)
        with self._lock:
            spent = self._spent.setdefault(model, Spent())
            spent.seconds, spent.rows = spent.seconds + seconds, spent.rows + rows

    def fault(self, model: str, why: str) -> None:
        """A model that a server scores cannot go on; told as long as it is asked for scores."""
        with self._lock:
            self._faults[model] = why

    def run(
        self, over: threading.Event, lag: Callable[[], Mapping[int, int]], challengers: Callable[[], Sequence[str]],
        write: Callable[[ModelChange], None],
    ) -> None:  # fmt: skip
        """A round a second until it is over; a change that the broker does not take is asked for again by a later round."""
        while not over.wait(ROUND_S):
            for change in self.look(sum(lag().values()), challengers()):
                try:
                    write(change)
                except DeliveryError as error:
                    structlog.get_logger().warning("change of the models not written", reason=str(error))

    def look(self, lag: int, challengers: Sequence[str]) -> list[ModelChange]:
        """What this round asks for. lag: records that wait; challengers: ids, the newest last."""
        with self._lock:
            spent, self._spent = self._spent, {}
            faults, self._faults = self._faults, {}
        changes = [self._faulty(model, why) for model, why in faults.items()]
        changes += [self._too_slow(model, each) for model, each in spent.items() if model not in faults]
        self._loaded = self._loaded + 1 if lag > self.settings.shed_lag else 0
        if self._loaded >= ROUNDS and challengers:
            self._loaded = 0
            why = f"more than {self.settings.shed_lag:,} records wait; challengers are shed first"
            changes.append(ModelChange(action="retire", model=challengers[-1], by="score", why=why))
        return [change for change in changes if change is not None]

    def _faulty(self, model: str, why: str) -> ModelChange | None:
        """Asked for once, and again where it is still scoring a while later."""
        waited = self._asked.get(model, AGAIN) + 1
        self._asked[model] = waited if waited <= AGAIN else 0
        if waited <= AGAIN:
            return None
        structlog.get_logger().warning("server scores no longer", model=model, reason=why)
        return ModelChange(action="quarantine", model=model, by="score", why=why[:1_000])

    def _too_slow(self, model: str, spent: Spent) -> ModelChange | None:
        if spent.rows < FEWEST_ROWS and not (model.startswith(REMOTE) and spent.rows):
            return None
        if spent.rows < FEWEST_ROWS and spent.seconds < STALLED_S:
            self._slow[model] = 0
            return None
        us = spent.seconds / spent.rows * 1e6
        self._slow[model] = self._slow.get(model, 0) + 1 if us > self.settings.slowest_us else 0
        if self._slow[model] < ROUNDS:
            return None
        self._slow[model] = 0
        structlog.get_logger().warning("model is too slow", model=model, us_per_row=round(us, 1))
        why = f"{us:,.0f} us a row, at most {self.settings.slowest_us:,.0f} are allowed"
        return ModelChange(action="quarantine", model=model, by="score", why=why)
