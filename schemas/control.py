"""What a control event says: the body of `schemas.events.Control`, JSON."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

ModelId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
MODELS: Final = "models"
"""`Control.topic` of a `ModelChange`."""
MAX_STATE_BYTES: Final = 24_576
"""Of a warm start: it travels in a record of the log."""


REMOTE: Final = "triton."
"""Ids of models that a server scores begin so, before the id of the same model in a file: they may only challenge."""


class ModelChange(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """From this record on another model serves, or scores beside it, or does no longer.

    promote     the model serves clients                     rollback    the one that served before `model` serves again
    challenge   the model scores beside the champion         retire      a challenger scores no longer
    quarantine  the model is never used again; where it serves, the one before it does
    warm        the online model of this partition goes on from `state`
    """

    action: Literal["promote", "challenge", "retire", "quarantine", "rollback", "warm"]
    model: ModelId
    """Id of an ONNX model, `triton.` before it where a server scores it, or `online`; of a warm start `warm-HASH`."""
    by: Annotated[str, Meta(max_length=128)] = ""
    why: Annotated[str, Meta(max_length=1_000)] = ""
    state: Annotated[bytes, Meta(max_length=MAX_STATE_BYTES)] = b""
    """Of a warm start: what the online model has learnt; base64 in JSON."""
    features_id: Annotated[str, Meta(max_length=64)] = ""
    """Of a warm start: the features that it was learnt on."""


_decoder = msgspec.json.Decoder(ModelChange)


def model_change(body: str) -> ModelChange | None:
    """The change that a control event's body says; None where it says none."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None


def body_of(change: ModelChange) -> str:
    """As it stands in a control event."""
    return msgspec.json.encode(change).decode()
