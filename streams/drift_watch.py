"""Watching a model: outcomes and the features behind them in, drift signals, retrain orders and verdicts out.

Outcomes come from several partitions at their own pace. They are gathered into blocks of event time, a block is closed when
every partition has passed it, and its rows are sorted: what is said depends on the outcomes, not on how they arrived. A row
that comes after its block was closed is counted as late and left out.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.drift import NS, Block, DriftRules
from models.drift_reference import Reference
from models.input_drift import SCORE, InputDrift, InputState
from models.loss_drift import LossDrift, SeriesState
from models.model import Matrix
from models.promotion import Trial, TrialRules
from models.retraining import RetrainRules, Scoreboard, Standing
from schemas.drift import DriftEvent, DriftSignal, Fall, Verdict
from schemas.errors import RecoveryError
from schemas.rows import Outcome

Scores: TypeAlias = Callable[[Outcome], Mapping[str, float | None]]
"""What each model had said, by the names under which they are watched."""
VERSION: Final = 1
NAN: Final = float("nan")


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
    """The model that is watched: its name among an outcome's scores, its id, its reference and what it has promised.

    promised: its log loss on rows that it was not trained on; NaN where nobody knows, and then no fall is told.
    """

    name: str
    id: str
    reference: Reference
    promised: float = NAN
    horizon_ns: int = 0
    """Outcomes of another horizon are not looked at; 0 where there is only one."""

    def wants(self, outcome: Outcome) -> bool:
        """Whether it came true, on this horizon."""
        return outcome.label is not None and outcome.horizon_ns == (self.horizon_ns or outcome.horizon_ns)


@dataclass(frozen=True, slots=True)
class WatchRules:
    """How closely is watched, what may be done, and how long is waited for a partition that has fallen silent."""

    drift: DriftRules = field(default_factory=DriftRules)
    retrain: RetrainRules = field(default_factory=RetrainRules)
    trial: TrialRules = field(default_factory=TrialRules)
    silence_ns: int = 30 * NS
    """A partition with nothing to read holds no block open longer than this beyond the newest outcome of all."""


class Row(Struct, frozen=True, array_like=True):
    """One outcome that waits for its block to be closed."""

    symbol: str
    ts_event: int
    predicted_offset: int
    label: float
    score: float | None
    rival: float | None
    features: bytes
    """float64, in the order of the reference; empty where unknown."""


class WatchState(Struct, frozen=True, kw_only=True):
    """Everything that is remembered."""

    version: int
    model: str
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

    standing: orders and challenger; verdict: the promotion that was decided and not carried out yet.
    late, unknown: outcomes that came too late, and those whose features were not found.
    """

    watched: Watched
    scores: Scores
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
    _inputs: InputDrift = field(init=False)
    _loss: LossDrift = field(init=False)
    _scoreboard: Scoreboard = field(init=False)

    def __post_init__(self) -> None:
        self._inputs = InputDrift(self.watched.reference, self.rules.drift, self.watched.id)
        self._loss = LossDrift(self.rules.drift, self.watched.id)
        self._scoreboard = Scoreboard()

    @property
    def names(self) -> list[str]:
        """Features that are asked for."""
        return [name for name in self.watched.reference.features if name != SCORE]

    def take(self, partition: int, outcomes: Sequence[Outcome], features: FeatureRows) -> None:
        """Gather what a partition says, in its order."""
        outcomes = [outcome for outcome in outcomes if self.watched.wants(outcome)]
        if not outcomes:
            return
        matrix, known = features.rows(outcomes, self.names)
        for outcome, values, there in zip(outcomes, matrix, known, strict=True):
            block = outcome.ts_matured // self.rules.drift.block_ns
            self.newest[partition] = max(outcome.ts_matured, self.newest.get(partition, 0))
            if block <= self.closed:
                self.late += 1
                continue
            self.unknown += not there
            self._waiting.setdefault(block, []).append(self._row(outcome, values if there else None))

    def _row(self, outcome: Outcome, values: "NDArray[np.float64] | None") -> Row:
        scores = self.scores(outcome)
        score, rival = scores.get(self.watched.name), scores.get(self.standing.challenger)
        if values is None:
            raw = b""
        else:
            at = iter(values.tolist())
            ordered = [
                (NAN if score is None else score) if name == SCORE else next(at)
                for name in self.watched.reference.features
            ]
            raw = np.array(ordered, np.float64).tobytes()
        return Row(
            outcome.symbol, outcome.ts_event, outcome.predicted_offset, NAN if outcome.label is None else outcome.label,
            score, rival, raw,
        )  # fmt: skip

    def settle(self, behind: Sequence[int]) -> Iterator[DriftEvent]:
        """Close the blocks that every partition has passed; what they say.

        behind: partitions with records that were not read yet. They hold blocks open however far the others are.
        """
        while self._waiting:
            block = min(self._waiting)
            if (block + 1) * self.rules.drift.block_ns > self.passed(behind):
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
        block = _block(number, self.rules.drift.block_ns, rows, len(self.watched.reference.features))
        evidence: list[DriftSignal | Fall] = [*self._inputs.fold(block), *self._loss.fold(block)]
        fall = self._scoreboard.fold(block, self.watched.id, self.watched.promised, self.rules.retrain)
        evidence += [fall] if fall is not None else []
        yield from evidence
        self.standing, told = self.standing.consider(evidence, self.watched.id, block.end_ns, self.rules.retrain)
        if told is not None:
            yield told
        verdict = None if self.trial is None else self.trial.fold(block, self.rules.trial)
        if verdict is not None:
            self.trial, self.standing = None, self.standing.judged()
            self.verdict = verdict if verdict.kind == "promote" else None
            yield verdict

    def registered(self, challenger: str) -> None:
        """The pending order has been carried out; its challenger is on trial from now on. Empty where nothing came of it."""
        self.standing = self.standing.registered(challenger)
        self.trial = Trial(champion=self.watched.id, challenger=challenger) if challenger else None

    def promoted(self) -> None:
        """The verdict has been carried out."""
        self.verdict = None

    def snapshot(self) -> bytes:
        """Everything, with a checksum before it: River ends the program where its own bytes are damaged."""
        state = WatchState(
            version=VERSION, model=self.watched.id, waiting=self._waiting, newest=self.newest, closed=self.closed,
            late=self.late, unknown=self.unknown, inputs=self._inputs.snapshot(), loss=self._loss.snapshot(),
            scoreboard=self._scoreboard, standing=self.standing, trial=self.trial, verdict=self.verdict,
        )  # fmt: skip
        raw = msgspec.msgpack.encode(state)
        return hashlib.sha256(raw).digest() + raw

    def restore(self, snapshot: bytes) -> None:
        """Take over what `snapshot` gave; RecoveryError where it is damaged, or of another model or version."""
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


def _block(number: int, block_ns: int, rows: list[Row], width: int) -> Block:
    """The rows as columns, in an order that is theirs alone; one that came twice counts once."""
    once = {(row.symbol, row.ts_event, row.predicted_offset): row for row in rows}
    rows = [once[key] for key in sorted(once)]
    symbols = sorted({row.symbol for row in rows})
    at = {name: i for i, name in enumerate(symbols)}
    features = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        if row.features:
            features[i] = np.frombuffer(row.features, np.float64)

    def column(values: Iterator[float | None]) -> NDArray[np.float64]:
        return np.array([NAN if value is None else value for value in values], np.float64)

    return Block(
        number * block_ns, (number + 1) * block_ns, symbols, np.array([at[row.symbol] for row in rows], np.int64), features,
        np.array([bool(row.features) for row in rows]), column(row.label for row in rows),
        column(row.score for row in rows), column(row.rival for row in rows),
    )  # fmt: skip
