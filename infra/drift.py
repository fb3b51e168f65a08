"""The process that watches the model on live outcomes, tells its drift, and starts trainings.

What it says goes to the topic `signals.drift.v1` first, then its state and offsets are saved, then what was ordered is done.
Killed anywhere, it says the same again, under the same ids, and does an order that it had not finished again.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog
from msgspec import Struct

from infra.clickhouse import connect
from infra.composition import model_path
from infra.feature_rows import ClickHouseFeatureRows, stored_dataset
from infra.kafka import partition_of
from infra.kafka_writer import KafkaWriter
from infra.locks import locked
from infra.log_identity import current_log
from infra.outcomes_log import OutcomePartition, open_outcomes
from infra.settings import Settings
from models import manifest as manifests
from models.drift_reference import Reference, reference_of
from models.input_drift import SCORE
from models.retraining import reason_of
from processors.features import FEATURE_NAMES
from schemas.drift import Declined, DriftEvent, Fall, RetrainOrder, Verdict
from schemas.errors import ModelError, RecoveryError
from schemas.rows import Outcome
from schemas.topics import DRIFT
from streams.drift_watch import DriftWatch, FeatureRows, Watched, WatchRules, read_on

SAVE_EVERY_S: Final = 5.0
LOOK_EVERY_S: Final = 10.0
IDLE_S: Final = 0.2
ONNX: Final = "onnx"
CLOCKS: Final = frozenset({"session_frac"})
"""Features that say what time it is: no drift of theirs is news."""
REFERENCE_SUFFIX: Final = ".drift.json"


class Actions(Protocol):
    """What follows from what is noticed. Both may be called again with the same order after a crash."""

    def retrain(self, order: RetrainOrder) -> str:
        """Train and register a challenger; its name among the outcomes' scores, empty where nothing came of it."""

    def promote(self, verdict: Verdict) -> None:
        """Make the challenger that has won the champion."""


class Saved(Struct, frozen=True, kw_only=True):
    """Where reading goes on, of which log, and the watch's snapshot."""

    log_id: str
    offsets: dict[int, int]
    watch: bytes


def scores_of(outcome: Outcome) -> Mapping[str, float | None]:
    """What each model had said."""
    return {"online": outcome.online, ONNX: outcome.onnx, **outcome.challengers}


def reference_path(settings: Settings, model_id: str) -> Path:
    """Where the drift reference of a model lies."""
    return model_path(settings).with_name(model_id + REFERENCE_SUFFIX)


def save_reference(settings: Settings, model_id: str, reference: Reference) -> Path:
    """Keep it beside the model."""
    path = reference_path(settings, model_id)
    _replace(path, reference.encode())
    return path


def learn_reference(settings: Settings, seconds: float, window_s: float) -> Path:
    """Make the reference of the present model from what is stored of the newest `seconds`: for a model that came without one."""
    manifest = manifests.load(model_path(settings))
    with closing(connect(settings.clickhouse.url.get_secret_value())) as database:
        dataset, scores = stored_dataset(
            database, settings.clickhouse.database, FEATURE_NAMES, score=ONNX, seconds=seconds,
            horizon_ns=horizon_of(settings),
        )  # fmt: skip
    reference = reference_of(dataset, round(window_s * 1e9), scores={SCORE: scores}, without=CLOCKS)
    return save_reference(settings, manifest.id, reference)


def watched_model(settings: Settings) -> Watched:
    """The ONNX model that scores, and its reference; `ModelError` where it has none."""
    manifest = manifests.load(model_path(settings))
    path = reference_path(settings, manifest.id)
    if not path.exists():
        raise ModelError(
            f"{path}: expected the drift reference of model {manifest.id}, found none; train it anew, or take what is stored "
            "as the reference: `tickwire watch-drift --learn 86400`"
        )
    promised = float("nan") if manifest.metrics is None else manifest.metrics.log_loss
    return Watched(ONNX, manifest.id, Reference.decode(path.read_bytes()), promised, horizon_of(settings))


def horizon_of(settings: Settings) -> int:
    """Of the outcomes that are watched, ns: the one that models are trained for."""
    return round(settings.fold.horizon.total_seconds() * 1e9)


@dataclass
class DriftProcess:
    """One watch from where it stopped. `actions`: None tells only, and takes every order as carried out without a result."""

    settings: Settings
    watched: Watched
    features: FeatureRows
    writer: KafkaWriter
    actions: Actions | None = None
    rules: WatchRules = field(default_factory=WatchRules)
    scores: Callable[[Outcome], Mapping[str, float | None]] = scores_of
    anew: bool = False
    """Forget what was read and learnt."""
    watch: DriftWatch = field(init=False)
    readers: list[OutcomePartition] = field(init=False)
    told: int = 0

    def __post_init__(self) -> None:
        self.log_id = current_log(self.settings.kafka).log_id
        self.watch = DriftWatch(self.watched, self.scores, self.rules)
        saved = None if self.anew else self._saved()
        if saved is not None:
            self.watch.restore(saved.watch)
        offsets = saved.offsets if saved is not None and saved.log_id == self.log_id else {}
        self.readers = open_outcomes(self.settings.kafka, offsets)

    @property
    def path(self) -> Path:
        """Of what is saved: one file a model, so that a new champion begins with nothing learnt of the old one."""
        return self.settings.data / "drift" / f"{self.watched.id}.state"

    def turn(self) -> bool:
        """Read, tell, save and act once; whether anything had arrived."""
        arrived, said = read_on(self.watch, self.readers, self.features)
        self.tell(said)
        if said:
            self.save()
        self._act()
        return arrived

    def tell(self, said: Sequence[DriftEvent]) -> None:
        """To the topic, and to the log for people."""
        for event in said:
            key = DRIFT.key(event)
            partition = partition_of(key, self.settings.kafka.partitions)
            self.writer.send(DRIFT, partition, [(key, DRIFT.encode(event))])
            structlog.get_logger().info(_headline(event), **_evidence(event))
        if said:
            self.writer.flush()
            self.told += len(said)

    def _act(self) -> None:
        if self.watch.standing.pending is not None:
            order = self.watch.standing.pending
            self.watch.registered("" if self.actions is None else self.actions.retrain(order))
            self.save()
        if self.watch.verdict is not None:
            if self.actions is not None:
                self.actions.promote(self.watch.verdict)
            self.watch.promoted()
            self.save()

    def save(self) -> None:
        """State and offsets, as one."""
        offsets = {reader.partition: reader.next_offset for reader in self.readers}
        raw = msgspec.msgpack.encode(Saved(log_id=self.log_id, offsets=offsets, watch=self.watch.snapshot()))
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(self.path, hashlib.sha256(raw).digest() + raw)

    def _saved(self) -> Saved | None:
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise RecoveryError(self.path, "bytes that do not fit their checksum", "start with `--anew`")
        return msgspec.msgpack.decode(content[32:], type=Saved)

    def close(self) -> None:
        """Save and stop reading."""
        self.save()
        for reader in self.readers:
            reader.close()


def run_watch(
    settings: Settings, actions: Actions | None, stop: Callable[[], bool], *, rules: WatchRules, anew: bool = False
) -> None:
    """Watch the model that scores until `stop`; when another takes its place, watch that one."""
    database = connect(settings.clickhouse.url.get_secret_value())
    features = ClickHouseFeatureRows(database, settings.clickhouse.database)
    with closing(database), locked(settings.data / "locks", "drift", [], "drift"):
        while not stop():
            process = DriftProcess(
                settings, watched_model(settings), features, KafkaWriter(settings.kafka), actions, rules, anew=anew
            )
            anew = False
            try:
                _until_another(process, stop)
            finally:
                process.close()


def _until_another(process: DriftProcess, stop: Callable[[], bool]) -> None:
    saved = looked = time.monotonic()
    while not stop():
        if not process.turn():
            time.sleep(IDLE_S)
        now = time.monotonic()
        if now - saved > SAVE_EVERY_S:
            process.save()
            saved = now
        if now - looked > LOOK_EVERY_S:
            looked = now
            if manifests.load(model_path(process.settings)).id != process.watched.id:
                return


def _headline(event: DriftEvent) -> str:
    if isinstance(event, RetrainOrder):
        return "training ordered"
    if isinstance(event, Declined):
        return "no training"
    if isinstance(event, Verdict):
        return f"challenger: {event.kind}"
    return "scoreboard has fallen" if isinstance(event, Fall) else "drift"


def _evidence(event: DriftEvent) -> dict[str, object]:
    if isinstance(event, RetrainOrder | Declined):
        return {"model": event.model, "reasons": event.reasons, "why": getattr(event, "why", "")}
    if isinstance(event, Verdict):
        return {"challenger": event.challenger, "gain": event.gain, "low": event.low, "high": event.high}
    return {"model": event.model, "reason": reason_of(event)}


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    draft.replace(path)
