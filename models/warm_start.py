"""A warm start of the online model, as the log carries it: the state itself, in the record from which on it is in force.

A replay, a rebuild and a verification then need no file that might be gone, or be another one.
"""

import hashlib
from collections.abc import Sequence

from models.online import OnlineModel
from schemas.control import ModelChange
from schemas.errors import ModelError


def warm_id(state: bytes) -> str:
    """`warm-HASH` of a snapshot of an `OnlineModel`."""
    return f"warm-{hashlib.sha256(state).hexdigest()[:12]}"


def warm_change(state: bytes, features_id: str, *, by: str = "", why: str = "") -> ModelChange:
    """The change that puts a snapshot, learnt on these features, in the place of what the online model knows."""
    return ModelChange(action="warm", model=warm_id(state), by=by, why=why, state=state, features_id=features_id)


def warmed(change: ModelChange, features: Sequence[str], features_id: str) -> OnlineModel:
    """The online model that goes on from the state of a change.

    `ModelError` where it was learnt on other features, settings or another River, or is not the state that its id names.
    """
    if change.features_id != features_id:
        raise ModelError(
            f"{change.model} was learnt on features {change.features_id or 'of no name'}, but the stream carries "
            f"{features_id}; make a warm start of this stream"
        )
    found = warm_id(change.state)
    if found != change.model:
        raise ModelError(f"{change.model} names another state than the {len(change.state)} bytes beside it, {found}")
    return OnlineModel.restore(change.state, features)
