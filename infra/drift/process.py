"""One watch of one model on live outcomes: tells its drift, and has trainings carried out.

What it says goes to the topic `signals.drift.v1` first, then its state and offsets are saved, then what was ordered is done.
Killed anywhere, it says the same again, under the same ids, and carries on an order that it had not finished.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from infra.composition import model_path
from infra.drift.actions import Actions
from infra.drift.live import Live
from infra.drift.reference import horizon_of, reference_for
from infra.drift.words import tell
from infra.kafka import partition_of
from infra.kafka_writer import KafkaWriter
from infra.log_identity import current_log
from infra.nightly.plan import replaced
from infra.outcomes_log import OutcomePartition, open_outcomes
from infra.private import private_folder
from infra.settings import Settings
from models import manifest as manifests
from models.manifest import manifest_name
from models.retraining import Standing
from processors.scores import ONLINE
from schemas.drift import DriftEvent
from schemas.errors import RecoveryError
from schemas.topics import DRIFT
from streams.drift_watch import DriftWatch, FeatureRows, Watched, WatchRules, read_on

ACT_EVERY_S: Final = 1.0


class Saved(Struct, frozen=True, kw_only=True):
    """Where reading goes on, of which log, and the watch's snapshot."""

    log_id: str
    offsets: dict[int, int]
    watch: bytes


def watched_model(settings: Settings, model_id: str) -> Watched | None:
    """The model and its reference; None where it has none yet."""
    reference = reference_for(settings, model_id)
    if reference is None:
        return None
    metrics = None
    if model_id != ONLINE:
        metrics = manifests.load(model_path(settings).with_name(manifest_name(model_id))).metrics
    promised = float("nan") if metrics is None else metrics.log_loss
    return Watched(model_id, reference, promised, horizon_of(settings))


@dataclass
class DriftProcess:
    """One watch of one model, from where it stopped.

    actions: None tells only, and takes every order as carried out without a result. live: who scores now, looked up every
    10 s. ordered: when trainings were ordered for the models before this one; the budget is that of all.
    """

    settings: Settings
    watched: Watched
    features: FeatureRows
    writer: KafkaWriter
    live: Callable[[], Live]
    actions: Actions | None = None
    rules: WatchRules = field(default_factory=WatchRules)
    anew: bool = False
    """Forget what was read and learnt."""
    ordered: tuple[int, ...] = ()
    watch: DriftWatch = field(init=False)
    readers: list[OutcomePartition] = field(init=False)
    told: int = 0
    _acted: float = field(default=-ACT_EVERY_S, init=False)
    _late: int = field(default=0, init=False)
    """Of the outcomes that came behind their block, how many were told."""

    def __post_init__(self) -> None:
        self.log_id = current_log(self.settings.kafka).log_id
        self.watch = DriftWatch(self.watched, self.rules, Standing())
        saved = None if self.anew else self._saved()
        if saved is not None:
            self.watch.restore(saved.watch)
        self._late = self.watch.late
        self.watch.standing = self.watch.standing.after(self.ordered)
        offsets = saved.offsets if saved is not None and saved.log_id == self.log_id else {}
        self.readers = open_outcomes(self.settings.kafka, offsets)
        self.save()

    @property
    def path(self) -> Path:
        """Of what is saved: one file a model, so that a new champion begins with nothing learnt of the old one."""
        return self.settings.data / "drift" / f"{self.watched.id}.state"

    def turn(self) -> bool:
        """Read, tell, save and act once; whether anything had arrived."""
        arrived, said = read_on(self.watch, self.readers, self.features)
        self._say(said)
        self._act()
        return arrived

    def look(self) -> bool:
        """Whether the model still serves, as far as is known. A trial whose challenger scores no longer is over."""
        live = self.live()
        if self.watch.late > self._late:
            fresh, self._late = self.watch.late - self._late, self.watch.late
            structlog.get_logger().info(
                "outcomes came behind their block and were left out", late=fresh, in_all=self._late
            )
        trial = self.watch.trial
        if trial is not None and trial.challenger not in (*live.challengers, live.serving):
            over = self.watch.abandoned()
            self._say([over] if over is not None else [])
        return live.serving in {"", self.watched.id}

    def _say(self, said: Sequence[DriftEvent]) -> None:
        """To the topic, and to the log for people; then it is not said again."""
        for event in said:
            key = DRIFT.key(event)
            partition = partition_of(key, self.settings.kafka.partitions)
            self.writer.send(DRIFT, partition, [(key, DRIFT.encode(event))])
            tell(event)
        if said:
            self.writer.flush()
            self.told += len(said)
            self.save()

    def _act(self) -> None:
        if self.watch.standing.pending is not None and time.monotonic() - self._acted > ACT_EVERY_S:
            made = "" if self.actions is None else self.actions.retrain(self.watch.standing.pending)
            self._acted = time.monotonic()
            if made is not None:
                self.watch.registered(made)
                self.save()
        if self.watch.verdict is not None:
            if self.actions is not None:
                self.actions.judged(self.watch.verdict)
            self.watch.carried_out()
            self.save()

    def save(self) -> None:
        """State and offsets, as one."""
        offsets = {reader.partition: reader.next_offset for reader in self.readers}
        raw = msgspec.msgpack.encode(Saved(log_id=self.log_id, offsets=offsets, watch=self.watch.snapshot()))
        private_folder(self.path.parent)
        replaced(self.path, hashlib.sha256(raw).digest() + raw)

    def _saved(self) -> Saved | None:
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise RecoveryError(self.path, "bytes that do not fit their checksum", "remove it")
        return msgspec.msgpack.decode(content[32:], type=Saved)

    def close(self) -> None:
        """Stop reading. What an error kept from being counted or told is not saved: it is read again after the next start."""
        if self.actions is not None:
            self.actions.stop()
        for reader in self.readers:
            reader.close()
