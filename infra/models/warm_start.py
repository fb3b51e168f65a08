"""From what a night's replay has learnt to the changes of the models that put it into force."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from infra.nightly.matrix_store import warm_path
from infra.nightly.plan import Folded, read_manifest
from models.manifest import read_bounded
from models.warm_start import warm_change, warmed
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.control import MAX_STATE_BYTES, ModelChange
from schemas.errors import ModelError


def warm_changes(directory: Path, partitions: int, *, by: str = "", why: str = "") -> Mapping[int, ModelChange]:
    """By partition, the change that brings the state of the night in `directory`; none where that one never took a step.

    `ModelError` where there is no such night, a file is not the one its manifest names, or the state does not fit here.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise ModelError(f"{directory} holds no finished night; `tickwire nightly --warm-start` makes one")
    strange = [each.partition for each in manifest.partitions if each.partition >= partitions]
    if strange:
        raise ModelError(f"{directory} is of a log with partition {max(strange)}, this one has {partitions}")
    found = {}
    for each in manifest.partitions:
        change = warm_change(_state(directory, each), manifest.plan.features_id, by=by, why=why)
        if warmed(change, FEATURE_NAMES, FEATURES_ID).steps:
            found[each.partition] = change
    if not found:
        raise ModelError(f"{directory}: in no partition was one step learnt; take a longer night")
    return found


def _state(directory: Path, folded: Folded) -> bytes:
    if not folded.learner_sha256:
        raise ModelError(f"{directory}: nothing learnt along; `tickwire nightly --warm-start` makes a warm start")
    path = warm_path(directory, folded.partition)
    state = read_bounded(path, MAX_STATE_BYTES)
    sha256 = hashlib.sha256(state).hexdigest()
    if sha256 != folded.learner_sha256:
        raise ModelError(
            f"{path}: sha256 {sha256[:12]}…, but the manifest names {folded.learner_sha256[:12]}…: the file was altered or "
            "torn; make the night again"
        )
    return state
