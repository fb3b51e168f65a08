"""What we say: the values of the topics we write. Each names the log record it was made from."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.events import Ns, Symbol, Venue
from schemas.rules import Severity

Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Partition = Annotated[int, Meta(ge=0, le=65_535)]
Number = Annotated[int, Meta(ge=0, le=2**53)]
"""Counts what is said of one symbol in one topic of one log, without a hole; 0 where nobody has counted."""


class Prediction(Struct, frozen=True, gc=False):
    """Every model's score after one event: the probability that the price is higher after the label's horizon.

    One is made of every event: it takes its fields by position too, so that columns can be mapped onto it.
    """

    symbol: Symbol
    ts_event: Ns
    """Event time of the symbol at this row (the newest seen), not the stamp of a late event."""
    ts_ingest: Ns
    log_id: str
    src_partition: Partition
    src_offset: Offset
    price: float | None
    """Mid where quotes exist, else the last trade: what the score is about; none before the first of the session."""
    p_up: float | None
    """The champion's score; none while no model has a finite one."""
    champion: str
    online: float | None
    onnx: float | None
    features_id: str
    seq: Number = 0


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """A prediction's horizon has passed on the log: what came true, and what each model had said; or it is void."""

    symbol: Symbol
    ts_event: Ns
    """Event time of the prediction."""
    ts_matured: Ns
    horizon_ns: int
    log_id: str
    src_partition: Partition
    src_offset: Offset
    """Of the record whose arrival let the label mature, or voided it."""
    predicted_offset: Offset
    price: float
    price_matured: float | None
    log_return: float | None
    label: float | None
    """1 up, 0 down, 0.5 within the dead band; none where it is void."""
    online: float | None
    onnx: float | None
    void: Literal["", "halt", "gap", "session"] = ""
    """What the horizon reaches over, so that nothing came true."""
    onnx_id: str = ""
    """The model that `onnx` is of."""
    challengers: dict[str, float] = {}
    """Model id to score, of those that scored beside."""
    seq: Number = 0


class Bar(Struct, frozen=True, kw_only=True, gc=False):
    """A closed bar. By time it is `(symbol, kind, start)`, and a later revision has a higher `rev`; by trades, volume or value it
    is `(symbol, kind, start, src_offset)`, because one stamp can fill several, and it is never revised."""

    symbol: Symbol
    kind: str
    """`1s`, `1m`, `5m`, or `tick100`, `volume10000`, `value1000000`."""
    start: Ns
    end: Ns
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float
    n_trades: int
    rev: int
    reason: str
    """`closed`, or why it was issued again: `late`, `correct`, `cancel`."""
    late_n: int
    gap_ms: int
    partial: bool
    log_id: str
    src_partition: Partition
    src_offset: Offset
    seq: Number = 0
    kind_seq: Number = 0
    """The same among the bars of its kind."""


class DeadLetter(Struct, frozen=True, kw_only=True, gc=False):
    """Something that came in and could not be used, with its reason and its bytes."""

    source: Annotated[str, Meta(max_length=500)]
    """Topic, file or feed."""
    partition: int
    offset: int
    """Offset in a topic, or line of a file."""
    reason: Literal[
        "undecodable", "unknown_type", "invalid_value", "crossed_quote", "future", "too_large", "symbol_limit",
        "venue_conflict", "not_a_message",
    ]  # fmt: skip
    detail: Annotated[str, Meta(max_length=1_000)]
    ts_ingest: Ns
    raw: bytes
    """At most 64 KiB of what came in."""


class Alert(Struct, frozen=True, kw_only=True, gc=False):
    """A rule fired or cleared."""

    id: str
    """`schemas.rules.alert_id`."""
    rule: str
    symbol: Symbol
    state: Literal["fired", "cleared"]
    ts_event: Ns
    """When it was judged, by the symbol's clock."""
    value: float
    """What was compared: of `changes_by` the change, of `z_score` the distance."""
    threshold: float
    log_id: str
    src_partition: Partition
    src_offset: Offset
    field: str = ""
    """Of the first condition that is on where the rule fired, that is off where it cleared; `value` and `threshold` are its."""
    severity: Severity = "info"
    owner: str = ""
    rev: int = 1
    """Of the rule."""


class Latest(Struct, frozen=True, kw_only=True, gc=False):
    """The newest row of one symbol: the value in Redis, and what REST and snapshots answer with."""

    symbol: Symbol
    ts_event: Ns
    ts_ingest: Ns
    log_id: str
    src_partition: Partition
    src_offset: Offset
    price: float | None
    bid: float | None
    ask: float | None
    p_up: float | None
    champion: str
    online: float | None
    onnx: float | None
    features_id: str
    features: dict[str, float | None]
    """By name; none until warm."""
    seq: Number = 0
    """Of the prediction in it."""


class FeedState(Struct, frozen=True, kw_only=True, gc=False):
    """Whether a venue's feed is up, by its heartbeats."""

    venue: Venue
    ts_event: Ns
    state: Literal["up", "down"]


class ScoreStatus(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What one scoring process says about itself, every second: the value in Redis that the API's readiness reads."""

    ts: Ns
    """Wall clock when it was written."""
    group: str
    """The scoring process; one document each."""
    log_id: str
    partitions: tuple[Partition, ...]
    offsets: dict[str, int]
    """Partition (as text) to the next offset to fold."""
    lag: dict[str, int]
    """Partition (as text) to records that wait in the topic."""
    provider: str
    """The ONNX execution provider that is really used; empty while no ONNX model is loaded."""
    models: dict[str, str]
    """Model name to model id, every model that scores now."""
    features_id: str
    events: dict[str, int]
    """Outcome (folded, duplicate, late, rejected, control) to how many since the log began."""
    uptime_s: float
    feeds: tuple[FeedState, ...] = ()
    """The newest heartbeat of every venue."""


SCORE_STATUS_KEY = "tickwire:status:score:{group}"
READY_LAG = 100_000
"""Records that may wait while we are ready: what one scoring process catches up with in about a second."""
"""Redis key of a `ScoreStatus`; it expires when its process no longer writes it."""
