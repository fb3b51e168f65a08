"""From settings to parts: what the processes share when they put themselves together."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.calendars import calendar
from infra.failpoints import hit
from infra.settings import Fold, Settings
from models.online import OnlineModel
from models.onnx import OnnxModel, check_provider
from models.warm_start import warmed
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.labels import LabelRule
from processors.roster import Load, no_models
from processors.scores import Model
from processors.sessions import Sessions
from processors.shard import FoldRules, Shard
from processors.snapshot import VERSION, decode_snapshot


def rules(fold: Fold) -> FoldRules:
    """What the fold is told."""

    def ns(duration: object) -> int:
        return round(duration.total_seconds() * 1e9)  # type: ignore[attr-defined, no-any-return]

    return FoldRules(
        lateness_ns=ns(fold.lateness),
        future_ns=ns(fold.future),
        label=LabelRule(
            horizon_ns=ns(fold.horizon),
            every_ns=ns(fold.label_every),
            others_ns=tuple(ns(other) for other in fold.other_horizons if other != fold.horizon),
            dead_band=fold.dead_band_bps / 10_000,
        ),
        max_symbols=fold.max_symbols,
        learn_every=fold.learn_every,
        champion=fold.champion,
    )


def sessions(fold: Fold, kept: Path | None = None) -> Sessions:
    """The calendars of the venues that keep one; `kept`: a folder that remembers what is slow to compute."""
    return Sessions({name: calendar(name, kept) for name in sorted(set(fold.calendars.values()))}, fold.calendars)


def calendars(settings: Settings) -> Path:
    """Where calendars are kept."""
    return settings.data / "calendars"


def step_name(fold_rules: FoldRules, calendars: Sessions) -> str:
    """Changes with everything that decides what is folded; fresh state goes with a fresh name."""
    told = f"v{VERSION} {FEATURES_ID} {fold_rules!r} {OnlineModel(FEATURE_NAMES).id} {calendars.fingerprint()}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ShardMaker:
    """Makes the shard of a partition, continued from a snapshot where there is one.

    `seeds`: snapshots to begin with, by partition, where the recovery store has none yet. `load`: models that the log names.
    """

    fold_rules: FoldRules
    calendars: Sessions
    onnx: Model | None
    seeds: Mapping[int, bytes] = field(default_factory=dict)
    load: Load = no_models

    def __call__(self, partition: int, snapshot: bytes | None = None) -> Shard:
        learner = OnlineModel(FEATURE_NAMES)
        snapshot = snapshot or self.seeds.get(partition)
        if snapshot:
            hit("fold.before_restore")
            learner = OnlineModel.restore(decode_snapshot(snapshot).learner, FEATURE_NAMES)
        shard = Shard(
            partition, learner, self.onnx, rules=self.fold_rules, sessions=self.calendars, load=self.load,
            warm=lambda change: warmed(change, FEATURE_NAMES, FEATURES_ID),
        )  # fmt: skip
        if snapshot:
            shard.restore(snapshot)
        return shard


def model_path(settings: Settings) -> Path:
    """Manifest of the model that scores."""
    return settings.data / "models" / "mlp.manifest.json"


def load_model(settings: Settings) -> OnnxModel | None:
    """The ONNX model; None where none was trained yet. `ModelError` where it, or the provider asked for, must not be used."""
    check_provider(settings.models.provider, "TICKWIRE_MODELS__PROVIDER")
    path = model_path(settings)
    if not path.exists():
        return None
    return OnnxModel.load(
        path, provider=settings.models.provider, expected_features=FEATURE_NAMES, expected_features_id=FEATURES_ID
    )
