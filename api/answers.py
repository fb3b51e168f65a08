"""What REST answers with. Names are those of topics and tables; times are RFC 3339 with nine digits."""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

from msgspec import Meta, Struct

from api.times import to_rfc3339
from schemas.rows import Latest, ScoreStatus

Time = Annotated[str, Meta(description="RFC 3339, UTC, nine digits", examples=["2026-11-22T14:30:00.000000001Z"])]
Score = Annotated[float, Meta(description="Probability that the price is higher after the label's horizon")]


class Symbols(Struct, frozen=True, kw_only=True):
    """Every symbol that has a newest row, sorted."""

    data: Sequence[str]


class LatestPrediction(Struct, frozen=True, kw_only=True):
    """The newest scores of one symbol, the market they are about, and the log record they were made from."""

    symbol: str
    ts_event: Time
    ts_ingest: Time
    price: Annotated[float, Meta(description="Mid where quotes exist, else the last trade")]
    bid: float | None
    ask: float | None
    p_up: Annotated[Score | None, Meta(description="The champion's score; null while no model has a finite one")]
    champion: str
    online: Score | None
    onnx: Score | None
    features_id: str
    log_id: str
    src_partition: int
    src_offset: int


class LatestFeatures(Struct, frozen=True, kw_only=True):
    """The newest value of every feature of one symbol; null until it is warm."""

    symbol: str
    ts_event: Time
    ts_ingest: Time
    features_id: str
    features: dict[str, float | None]
    log_id: str
    src_partition: int
    src_offset: int


class Alive(Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Annotated[str, Meta(examples=["ok"])] = "ok"


class FeedReport(Struct, frozen=True, kw_only=True):
    """The WebSocket feed of this process."""

    epoch: str
    clients: int
    messages: Annotated[int, Meta(description="That came from the topics since this process started")]
    idle_s: Annotated[float | None, Meta(description="Since the newest of them; null before the first")]


class Ready(Struct, frozen=True, kw_only=True):
    """We can serve, and this is with what."""

    status: Annotated[str, Meta(examples=["ready"])]
    lag: Annotated[int, Meta(description="Records that wait in the events topic, over all partitions")]
    scores: Annotated[Sequence[ScoreStatus], Meta(description="What every scoring process says about itself")]
    feed: FeedReport
    warnings: Annotated[Sequence[str], Meta(description="What is not well but does not stop us")]


class Version(Struct, frozen=True, kw_only=True):
    """What runs here."""

    name: str
    version: str
    epoch: Annotated[str, Meta(description="Of the feed: changes with every start; sequence numbers begin anew")]


def latest_prediction(row: Latest) -> LatestPrediction:
    """The scores of a newest row."""
    return LatestPrediction(
        ts_event=to_rfc3339(row.ts_event), ts_ingest=to_rfc3339(row.ts_ingest), **_same(LatestPrediction, row)
    )


def latest_features(row: Latest) -> LatestFeatures:
    """The features of a newest row."""
    return LatestFeatures(
        ts_event=to_rfc3339(row.ts_event), ts_ingest=to_rfc3339(row.ts_ingest), **_same(LatestFeatures, row)
    )


_TIMES = frozenset({"ts_event", "ts_ingest"})


def _same(answer: type[Struct], row: Struct) -> dict[str, Any]:
    """The fields that go over as they are."""
    return {name: getattr(row, name) for name in _names(answer)}


@cache
def _names(answer: type[Struct]) -> Sequence[str]:
    return [name for name in answer.__struct_fields__ if name not in _TIMES]
