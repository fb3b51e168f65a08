"""What REST says of the models, and what may be asked of them."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from api.answers import Score, Time
from schemas.control import ModelId


class ModelInfo(Struct, frozen=True, kw_only=True):
    """One model of this machine, or one that scores."""

    id: str
    name: str
    kind: str
    roles: Annotated[
        Sequence[str], Meta(description="Of `champion` (clients see it), `onnx` (beside `online`), `challenger`")
    ]
    horizon_s: Annotated[
        float | None, Meta(description="P(up) is about so many seconds later; null where not known here")
    ]
    features_id: Annotated[str, Meta(description="The features that it was trained on; empty where not known here")]
    trained_on: str
    created: Time | None
    metrics: Annotated[dict[str, float], Meta(description="On the rows that its training held back")]
    fault: Annotated[str, Meta(description="Why this machine's copy cannot be used; empty where it can")]


class Models(Struct, frozen=True, kw_only=True):
    """Every model of this machine, and whichever scores."""

    data: Sequence[ModelInfo]


class ModelChanged(Struct, frozen=True, kw_only=True):
    """A change of the models, and who scores behind it on that partition."""

    ts_event: Time
    action: str
    model: str
    by: str
    why: str
    refused: Annotated[str, Meta(description="Why the fold did not carry it out; empty where it did")]
    champion: Annotated[str, Meta(description="`online` or `onnx`")]
    onnx: str
    challengers: Sequence[str]
    log_id: str
    src_partition: int
    src_offset: Annotated[int, Meta(description="The fence: from the next record on")]


class ModelChanges(Struct, frozen=True, kw_only=True):
    """The newest first."""

    data: Sequence[ModelChanged]


class Measure(Struct, frozen=True, kw_only=True):
    """A number with its 95 % interval; null where there is too little for one."""

    value: float | None
    low: float | None
    high: float | None


class ModelScore(Struct, frozen=True, kw_only=True):
    """How one model did on one horizon and group of symbols, by outcomes that matured."""

    group: str
    horizon_s: float
    model: str
    outcomes: int
    champion_share: Annotated[
        float, Meta(description="Of the outcomes, those whose prediction clients saw as the champion's")
    ]
    trades: int
    measures: Annotated[
        dict[str, Measure],
        Meta(
            description="log_loss, gain (over the base rate, nat), brier, calibration_error, hit_rate, information, net_bp"
        ),
    ]
    why: Annotated[str, Meta(description="What keeps it from being judged, or its numbers from having intervals")]


class Scoreboard(Struct, frozen=True, kw_only=True):
    """The best log loss first, by group and horizon."""

    data: Sequence[ModelScore]


class ModelChangeRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is to become of a model from the next record on; see `tickwire models --help`."""

    action: Literal["promote", "challenge", "retire", "rollback", "quarantine"]
    model: Annotated[ModelId, Meta(description="An id of GET /v1/models, or `online`")]
    why: Annotated[str, Meta(max_length=1_000)] = ""


class ModelChangeTaken(Struct, frozen=True, kw_only=True):
    """The change is on the log."""

    action: str
    model: str
    fence: Annotated[dict[str, int], Meta(description="Partition to the offset behind which it is in force")]
    refused: Annotated[dict[str, str], Meta(description="Partition to why nothing has changed there")]
    everywhere: Annotated[
        bool,
        Meta(description="False while some partitions have not answered, or none could be asked: they take it later"),
    ]


class PredictRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rows to be scored: the newest features of symbols, or features by name; exactly one of the two."""

    symbols: Annotated[Sequence[Annotated[str, Meta(min_length=1, max_length=32)]], Meta(max_length=100)] = ()
    rows: Annotated[Sequence[dict[str, float | None]], Meta(max_length=1_000)] = ()
    model: Annotated[
        str, Meta(max_length=128, description="A model's name; the one that scores now where left out")
    ] = ""
    version: Annotated[str, Meta(max_length=64, description="Which of that name; the current one where left out")] = ""


class Predicted(Struct, frozen=True, kw_only=True):
    """One row's score."""

    p_up: Score
    missing: Annotated[int, Meta(description="Features of the model that this row did not have")]
    symbol: Annotated[str | None, Meta(description="Null for a row of your own")]
    ts_event: Time | None


class Predictions(Struct, frozen=True, kw_only=True):
    """A score for each row, in order."""

    model: Annotated[str, Meta(description="Its id")]
    horizon_s: float
    features_id: str
    data: Sequence[Predicted]


ANSWERS: Final = (Models, ModelChanges, Scoreboard, ModelChangeRequest, ModelChangeTaken, PredictRequest, Predictions)
