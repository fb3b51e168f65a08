"""Watching a model: outcomes and the features behind them in, drift signals, retrain orders and verdicts out.

Outcomes come from several partitions at their own pace. They are gathered into blocks of event time, a block is closed when
every partition is `wait_ns` past it, and its rows are sorted: what is said depends on the outcomes, not on how they arrived.
What came true of a quiet symbol is known with the next heartbeat of its venue only; a row that comes after its block was
closed is counted as late and left out.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.drift import NS, DriftRules
from models.drift_reference import Reference
from models.input_drift import SCORE, InputDrift, InputState
from models.loss_drift import LossDrift, SeriesState
from models.model import Matrix
from models.promotion import Trial, TrialRules
from models.retraining import RetrainRules, Scoreboard, Standing
from processors.shard import FoldRules
from schemas.drift import DriftEvent, DriftSignal, Fall, Verdict
from schemas.errors import RecoveryError
from schemas.rows import Outcome
from streams.drift_rows import NAN, Row, block_of, row_of, scores_of

VERSION: Final = 3


class FeatureRows(Protocol):
    """The features that predictions were made from."""

    def rows(self, outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[Matrix, NDArray[np.bool_]]:
        """Of the predictions behind n outcomes: float64 [n, names], NaN missing; and whether each is known at all."""


class OutcomeReader(Protocol):
    """One partition of the outcomes topic, read in order."""

    @property
    def partition(self) -> int:
        """Which."""

    @property
    def behind(self) -> bool:
        """Whether records have arrived that were not polled."""

    def poll(self, most: int) -> Sequence[Outcome]:
        """What has arrived, at most `most`; none when nothing has."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The model that is watched: its id (`online` for the one that learns), its reference and what it has promised.

    promised: its log loss on rows that it was not trained on; NaN where nobody knows, and then no fall is told.
    """

    id: str
    reference: Reference
    promised: float = NAN
    horizon_ns: int = 0
    """Outcomes of another horizon are not looked at; 0 where there is only one."""

    def told(self, outcome: Outcome) -> tuple[float, float] | None:
        """What came true and what the model had said of it; None for another horizon, a void outcome, or no score."""
        score = scores_of(outcome).get(self.id)
        if outcome.label is None or score is None or outcome.horizon_ns != (self.horizon_ns or outcome.horizon_ns):
            return None
        return outcome.label, score


@dataclass(frozen=True, slots=True)
class WatchRules:
    """How closely is watched, what may be done, and how long is waited for a partition that has fallen silent."""

    drift: DriftRules = field(default_factory=DriftRules)
    retrain: RetrainRules = field(default_factory=RetrainRules)
    trial: TrialRules = field(default_factory=TrialRules)
    silence_ns: int = 30 * NS
    """A partition with nothing to read holds no block open longer than this beyond the newest outcome of all."""
    wait_ns: int = FoldRules().heartbeat_gap_ns
    """A block is held open so long beyond its end: a longer silence of a venue voids what waited in it."""


class WatchState(Struct, frozen=True, kw_only=True):
    """Everything that is remembered."""

    version: int
    model: str
    reference: str
    """Digest of the one that the counts of inputs were made by."""
    waiting: dict[int, list[Row]]
    newest: dict[int, int]
    closed: int
    late: int
    unknown: int
    inputs: InputState
    loss: dict[str, SeriesState]
    scoreboard: Scoreboard
    standing: Standing
    trial: Trial | None
    verdict: Verdict | None


@dataclass(slots=True)
class DriftWatch:
    """The fold: `take` what has arrived, then `settle` what is complete.

    standing: orders and challenger; verdict: of the trial that has ended, until what follows from it was done.
    late, unknown: outcomes that came too late, and those whose features were not found.
    """

    watched: Watched
    rules: WatchRules = field(default_factory=WatchRules)
    standing: Standing = field(default_factory=Standing)
    trial: Trial | None = None
    verdict: Verdict | None = None
    late: int = 0
    unknown: int = 0
    newest: dict[int, int] = field(default_factory=dict)
    """Partition to the newest event time at which one of its outcomes matured."""
    closed: int = -1
    """Number of the newest block that is closed."""
    _waiting: dict[int, list[Row]] = field(default_factory=dict)
    _reference: str = field(init=False)
    _inputs: InputDrift = field(init=False)
    _loss: LossDrift = field(init=False)
    _scoreboard: Scoreboard = field(init=False)

    def __post_init__(self) -> None:
        self._reference = hashlib.sha256(self.watched.reference.encode()).hexdigest()[:16]
        self._inputs = InputDrift(self.watched.reference, self.rules.drift, self.watched.id)
        self._loss = LossDrift(self.rules.drift, self.watched.id)
        self._scoreboard = Scoreboard()

    @property
    def names(self) -> list[str]:
        """Features that are asked for."""
        return [name for name in self.watched.reference.features if name != SCORE]

    def take(self, partition: int, outcomes: Sequence[Outcome], features: FeatureRows) -> None:
        """Gather what a partition says, in its order: of the horizon, not void, and scored by the watched model.

        What else came true moves the partition's time alone.
        """
        came_true = [outcome.ts_matured for outcome in outcomes if not outcome.void]
        self.newest[partition] = max([*came_true, self.newest.get(partition, 0)])
        wanted = [(outcome, told) for outcome in outcomes if (told := self.watched.told(outcome)) is not None]
        if not wanted:
            return
        matrix, known = features.rows([outcome for outcome, _ in wanted], self.names)
        for (outcome, (label, score)), values, there in zip(wanted, matrix, known, strict=True):
            block = outcome.ts_matured // self.rules.drift.block_ns
            if block <= self.closed:
                self.late += 1
                continue
            self.unknown += not there
            rival = scores_of(outcome).get(self.standing.challenger)
            names = self.watched.reference.features
            row = row_of(outcome, label, score, rival, names, values if there else None)
            self._waiting.setdefault(block, []).append(row)

    def settle(self, behind: Sequence[int]) -> Iterator[DriftEvent]:
        """Close the blocks that every partition is far enough past; what they say.

        behind: partitions with records that were not read yet. They hold blocks open however far the others are.
        """
        while self._waiting:
            block = min(self._waiting)
            if (block + 1) * self.rules.drift.block_ns + self.rules.wait_ns > self.passed(behind):
                return
            self.closed = block
            yield from self._close(block, self._waiting.pop(block))

    def passed(self, behind: Sequence[int]) -> int:
        """Event time, ns, that every partition has passed."""
        if not self.newest:
            return 0
        if not set(behind) <= set(self.newest):
            return 0
        idle = max(self.newest.values()) - self.rules.silence_ns
        return min(ts if each in behind else max(ts, idle) for each, ts in self.newest.items())

    def _close(self, number: int, rows: list[Row]) -> Iterator[DriftEvent]:
        block = block_of(number, self.rules.drift.block_ns, rows, len(self.watched.reference.features))
        evidence: list[DriftSignal | Fall] = [*self._inputs.fold(block), *self._loss.fold(block)]
        fall = self._scoreboard.fold(block, self.watched.id, self.watched.promised, self.rules.retrain)
        evidence += [fall] if fall is not None else []
        yield from evidence
        self.standing, told = self.standing.consider(evidence, self.watched.id, block.end_ns, self.rules.retrain)
        if told is not None:
            yield told
        verdict = None if self.trial is None else self.trial.fold(block, self.rules.trial)
        if verdict is not None:
            yield self._judged(verdict)

    def _judged(self, verdict: Verdict) -> Verdict:
        self.trial, self.standing, self.verdict = None, self.standing.judged(), verdict
        return verdict

    def registered(self, challenger: str) -> None:
        """The pending order has been carried out; its challenger is on trial from now on. Empty where nothing came of it."""
        self.standing = self.standing.registered(challenger)
        self.trial = Trial(champion=self.watched.id, challenger=challenger) if challenger else None

    def abandoned(self) -> Verdict | None:
        """The challenger scores no longer, by another's word: its trial ends undecided. None where there is no trial."""
        if self.trial is None:
            return None
        return self._judged(
            self.trial.ended("undecided", (self.closed + 1) * self.rules.drift.block_ns, self.rules.trial)
        )

    def carried_out(self) -> None:
        """What follows from the verdict has been done."""
        self.verdict = None

    def snapshot(self) -> bytes:
        """Everything, with a checksum before it: River ends the program where its own bytes are damaged."""
        state = WatchState(
            version=VERSION, model=self.watched.id, reference=self._reference, waiting=self._waiting, newest=self.newest,
            closed=self.closed, late=self.late, unknown=self.unknown, inputs=self._inputs.snapshot(),
            loss=self._loss.snapshot(), scoreboard=self._scoreboard, standing=self.standing, trial=self.trial,
            verdict=self.verdict,
        )  # fmt: skip
        raw = msgspec.msgpack.encode(state)
        return hashlib.sha256(raw).digest() + raw

    def restore(self, snapshot: bytes) -> None:
        """Take over what `snapshot` gave; RecoveryError where it is damaged, or of another model, reference or version."""
        digest, raw = snapshot[:32], snapshot[32:]
        todo = "remove it: what was learnt of the model's usual losses is learnt anew"
        if hashlib.sha256(raw).digest() != digest:
            raise RecoveryError("drift watch", "bytes that do not fit their checksum", todo)
        try:
            state = msgspec.msgpack.decode(raw, type=WatchState)
        except msgspec.DecodeError as error:
            raise RecoveryError("drift watch", str(error), todo) from error
        if (state.version, state.model) != (VERSION, self.watched.id):
            raise RecoveryError("drift watch", f"that of model {state.model}, version {state.version}", todo)
        if state.reference != self._reference:
            raise RecoveryError("drift watch", f"counts by another reference of model {state.model}", todo)
        self._waiting, self.newest, self.closed = state.waiting, state.newest, state.closed
        self.late, self.unknown, self._scoreboard = state.late, state.unknown, state.scoreboard
        self.standing, self.trial, self.verdict = state.standing, state.trial, state.verdict
        self._inputs.restore(state.inputs)
        self._loss.restore(state.loss)


def read_on(
    watch: DriftWatch, readers: Sequence[OutcomeReader], features: FeatureRows, most: int = 2_000
) -> tuple[bool, list[DriftEvent]]:
    """One turn: whether anything had arrived, and what is said now.

    Partitions are read evenly: one that is a block or more ahead of another with something to read waits for it.
    """
    behind = [reader.partition for reader in readers if reader.behind]
    slowest = watch.passed(behind)
    arrived = False
    for reader in readers:
        ahead = watch.newest.get(reader.partition, 0) - slowest >= watch.rules.drift.block_ns
        if reader.partition in behind and ahead:
            continue
        outcomes = reader.poll(most)
        arrived |= bool(outcomes)
        watch.take(reader.partition, outcomes, features)
    return arrived, list(watch.settle([reader.partition for reader in readers if reader.behind]))
