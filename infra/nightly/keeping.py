"""What becomes of the nightly's model: into the cache, with its drift reference, and into the registry as the challenger."""

from typing import Final

import numpy as np
from msgspec import Struct

from infra.drift.reference import CLOCKS, reference_path, save_reference, window_of
from infra.models.places import opened
from infra.nightly.matrix import load
from infra.nightly.run import REPORT, Night
from infra.nightly.training import model_directory
from infra.settings import Settings
from models import manifest as manifests
from models.drift_reference import reference_of
from models.input_drift import SCORE
from models.manifest import Manifest, manifest_name
from models.onnx import MAX_BYTES, OnnxModel
from models.registry import RegistryUnavailable, Run
from schemas.errors import TickwireError

MOST_REFERENCED: Final = 500_000
"""Rows of a drift reference; of more, so many are drawn, the same ones each time: their counts need tens of bytes a feature."""


class Kept(Struct, frozen=True):
    """Where the model is now; `version` is the registry's, and `fault` says why it has none. It never serves by itself."""

    model_id: str
    version: str = ""
    fault: str = ""
    reference: str = ""
    """Why it has no drift reference; empty where it has one."""


def keep(settings: Settings, night: Night) -> Kept | None:
    """Keep the night's model where it can be challenged and promoted; None where there is none. Done again, nothing changes."""
    if night.model is None:
        return None
    path = model_directory(night.directory) / manifest_name(night.model.name)
    content = manifests.load_content(path, night.model, MAX_BYTES)
    cache, registry = opened(settings)
    cache.keep(night.model, content)
    reference = _referenced(settings, night, night.model)
    report = night.directory / REPORT
    run = Run(
        night.model, content, parameters={"plan": night.manifest.id, "seed": str(night.manifest.plan.seed)},
        metrics={"rows": float(night.manifest.rows)}, reports={REPORT: report.read_bytes()},
    )  # fmt: skip
    try:
        version = registry.log(run)
        registry.alias("challenger", version)
    except RegistryUnavailable as error:
        return Kept(night.model.id, fault=str(error), reference=reference)
    return Kept(night.model.id, version, reference=reference)


def _referenced(settings: Settings, night: Night, model: Manifest) -> str:
    """Make the reference that the drift watch compares with, once; why it could not be made."""
    if reference_path(settings, model.id).exists():
        return ""
    dataset = load(night.directory)
    if len(dataset) > MOST_REFERENCED:
        dataset = dataset.taken(np.sort(np.random.default_rng(0).choice(len(dataset), MOST_REFERENCED, replace=False)))
    scorer = OnnxModel.load(model_directory(night.directory) / manifest_name(model.name))
    try:
        reference = reference_of(
            dataset, window_of(settings), scores={SCORE: scorer.score(dataset.features)}, without=CLOCKS
        )
    except TickwireError as error:
        return str(error)
    save_reference(settings, model.id, reference)
    return ""
