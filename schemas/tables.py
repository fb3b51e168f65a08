"""Every ClickHouse table: its columns, its key, and where its rows come from.

Every row names the log record that made it: `(log_id, src_partition, src_offset)`. Tables are partitioned by the
broker's time, which moves with the offsets, so one block of rows falls into one part and the highest stored offset (the
high-water mark) is exact. `ReplacingMergeTree` is the second net below that mark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

SYMBOL: Final = "LowCardinality(String)"
NS: Final = "DateTime64(9, 'UTC')"
SOURCE: Final[Mapping[str, str]] = {
    "log_id": "LowCardinality(String)",
    "src_partition": "UInt16",
    "src_offset": "Int64",
    "ts_broker": "DateTime64(3, 'UTC')",
}
CODECS: Final[Mapping[str, str]] = {
    "ts_event": "Delta, ZSTD(1)",
    "ts_ingest": "Delta, ZSTD(1)",
    "ts_broker": "Delta, ZSTD(1)",
    "src_offset": "Delta, ZSTD(1)",
    "seq": "Delta, ZSTD(1)",
}
BY_OFFSET: Final = "INDEX by_offset src_offset TYPE minmax GRANULARITY 1"
"""Rows of a stretch of the log are found without reading the others: auditor, verify and replay ask for nothing else."""
DEDUPLICATION_WINDOW: Final = 256
"""Blocks of a table that are known again; each costs the server memory. Only a writer's newest one is ever repeated, and its
rows are looked for first: the token is for an insert that ends in between."""


@dataclass(frozen=True)
class Table:
    """A ClickHouse table as we declare it."""

    name: str
    columns: Mapping[str, str]
    order_by: Sequence[str]
    comment: str
    version: str = ""
    """Column that decides which of two rows with one key stays; the last written where empty."""
    types: Mapping[str, str] = field(init=False)
    """Column name to ClickHouse type, the source columns included."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", {**self.columns, **SOURCE})

    def ddl(self, database: str, *, codecs: bool = True) -> str:
        """`CREATE TABLE IF NOT EXISTS`, for a server as old as 22.3 when `codecs` is False."""
        lines = ",\n  ".join(
            f"`{name}` {type_}" + (f" CODEC({CODECS[name]})" if codecs and name in CODECS else "")
            for name, type_ in self.types.items()
        )
        return (
            f"CREATE TABLE IF NOT EXISTS `{database}`.`{self.name}` (\n  {lines},\n  {BY_OFFSET}\n) "
            f"ENGINE = ReplacingMergeTree({self.version})\n"
            f"PARTITION BY toDate(ts_broker)\nORDER BY ({', '.join(self.order_by)})\n"
            f"SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
            + (f"\nCOMMENT '{self.comment}'" if codecs else "")
        )


BY_EVENT: Final = ("symbol", "ts_event", "log_id", "src_partition", "src_offset")

TRADES = Table(
    "trades",
    {
        "symbol": SYMBOL, "venue": SYMBOL, "seq": "UInt64", "ts_event": NS, "ts_ingest": NS, "price": "Float64",
        "size": "Float64", "side": SYMBOL, "trade_id": "String", "conditions": SYMBOL, "in_bars": "Bool",
        "late": "Bool",
    },
    BY_EVENT, "One row per accepted trade, late ones marked",
)  # fmt: skip
QUOTES = Table(
    "quotes",
    {
        "symbol": SYMBOL, "venue": SYMBOL, "seq": "UInt64", "ts_event": NS, "ts_ingest": NS, "bid": "Float64",
        "bid_size": "Float64", "ask": "Float64", "ask_size": "Float64", "late": "Bool",
    },
    BY_EVENT, "One row per accepted change of the best bid and offer",
)  # fmt: skip
NEWS_SIGNALS = Table(
    "news",
    {
        "symbol": SYMBOL, "venue": SYMBOL, "seq": "UInt64", "ts_event": NS, "ts_ingest": NS, "sentiment": "Float64",
        "item_id": "String", "words": "UInt32", "late": "Bool",
    },
    BY_EVENT, "What each news item said about each symbol",
)  # fmt: skip
CORRECTIONS = Table(
    "corrections",
    {
        "symbol": SYMBOL, "venue": SYMBOL, "seq": "UInt64", "ts_event": NS, "ts_ingest": NS, "kind": SYMBOL,
        "refers_seq": "UInt64", "price": "Float64", "size": "Float64",
    },
    BY_EVENT, "Corrections and cancellations as the venue sent them; NaN price and size for a cancellation",
)  # fmt: skip
PREDICTIONS = Table(
    "predictions",
    {
        "symbol": SYMBOL, "ts_event": NS, "ts_ingest": NS, "price": "Float64", "p_up": "Nullable(Float64)",
        "champion": SYMBOL, "online": "Nullable(Float64)", "onnx": "Nullable(Float64)", "online_steps": "UInt32",
        "onnx_id": SYMBOL, "features_id": SYMBOL,
    },
    BY_EVENT, "Every model score after every folded event",
)  # fmt: skip
OUTCOMES = Table(
    "outcomes",
    {
        "symbol": SYMBOL, "ts_event": NS, "ts_matured": NS, "horizon_ns": "Int64", "predicted_offset": "Int64",
        "price": "Float64", "price_matured": "Float64", "log_return": "Float64", "label": "Float64", "void": SYMBOL,
        "online": "Nullable(Float64)", "onnx": "Nullable(Float64)", "onnx_id": SYMBOL,
    },
    (*BY_EVENT, "predicted_offset", "horizon_ns"),
    "What came true of a sampled prediction, and what each model had said; NaN where void says why there is no answer",
)  # fmt: skip
OUTCOME_SCORES = Table(
    "outcome_scores",
    {
        "symbol": SYMBOL, "ts_event": NS, "ts_matured": NS, "horizon_ns": "Int64", "predicted_offset": "Int64",
        "model_id": SYMBOL, "champion": "Bool", "score": "Float64", "label": "Float64", "log_return": "Float64",
    },
    (*BY_EVENT, "predicted_offset", "horizon_ns", "model_id"),
    "What each model, also those in the shadow, had said of what came true; a void outcome has none",
)  # fmt: skip
CHALLENGER_SCORES = Table(
    "challenger_scores",
    {"symbol": SYMBOL, "ts_event": NS, "model_id": SYMBOL, "p_up": "Nullable(Float64)"},
    (*BY_EVENT, "model_id"), "What each challenger says after every folded event",
)  # fmt: skip
MODEL_CHANGES = Table(
    "model_changes",
    {
        "ts_event": NS, "action": SYMBOL, "model_id": SYMBOL, "by": SYMBOL, "why": "String", "refused": "String",
        "champion": SYMBOL, "onnx_id": SYMBOL, "challengers": "String",
    },
    ("log_id", "src_partition", "src_offset", "action", "model_id"),
    "Changes of the models, what they were refused for, and who scores the records behind them",
)  # fmt: skip
ALERTS = Table(
    "alerts",
    {
        "id": "String", "rule": SYMBOL, "rev": "UInt32", "symbol": SYMBOL, "state": SYMBOL, "severity": SYMBOL,
        "owner": SYMBOL, "ts_event": NS, "field": SYMBOL, "value": "Float64", "threshold": "Float64",
    },
    (*BY_EVENT, "rule"), "What alert rules said: fired and cleared",
)  # fmt: skip
RULE_CHANGES = Table(
    "rule_changes",
    {
        "ts_event": NS, "action": SYMBOL, "rule": SYMBOL, "rev": "UInt32", "by": SYMBOL, "why": "String",
        "refused": "String", "body": "String",
    },
    ("log_id", "src_partition", "src_offset"),
    "Changes of the alert rules, what they were refused for, and the rule as JSON that stands behind them",
)  # fmt: skip
BARS = Table(
    "bars",
    {
        "symbol": SYMBOL, "kind": SYMBOL, "start": NS, "end": NS, "open": "Float64", "high": "Float64",
        "low": "Float64", "close": "Float64", "volume": "Float64", "value": "Float64", "n_trades": "UInt32",
        "rev": "UInt32", "reason": SYMBOL, "late_n": "UInt32", "gap_ms": "UInt32", "partial": "Bool",
    },
    ("symbol", "kind", "start", "rev", "log_id", "src_partition", "src_offset"),
    "Closed bars, every revision; view bars_latest gives the newest",
)  # fmt: skip
LEDGER = Table(
    "ledger",
    {
        "ts_event": NS, "events_in": "UInt64", "folded": "UInt64", "duplicate": "UInt64", "late": "UInt64",
        "rejected": "UInt64", "control": "UInt64", "features_hash": "UInt64",
        "features_id": SYMBOL, "first_offset": "Int64",
    },
    ("log_id", "src_partition", "src_offset"),
    "Cumulative counts per partition and the rolling hash of its feature bits, once per minute of the log",
)  # fmt: skip
MARKS = Table(
    "marks",
    {
        "symbol": SYMBOL, "venue": SYMBOL, "seq": "UInt64", "ts_event": NS, "ts_ingest": NS, "kind": SYMBOL,
        "repeats": SYMBOL, "raw": "String",
    },
    ("log_id", "src_partition", "src_offset"),
    "Heartbeats, session marks, controls, and dropped duplicates with the kind that they repeat",
)  # fmt: skip
DEAD_LETTERS = Table(
    "dead_letters",
    {"source": SYMBOL, "reason": SYMBOL, "detail": "String", "ts_ingest": NS, "raw": "String"},
    ("log_id", "src_partition", "src_offset"),
    "Records of the events topic that could not be used, with reason and bytes",
)


def features_table(names: Sequence[str]) -> Table:
    """The table of feature rows: one Float64 column a feature, NaN until warm.

    `names`: the catalogue's, in order. A feature that is added later is a column that is added.
    """
    columns = {"symbol": SYMBOL, "ts_event": NS, "kind": SYMBOL, **dict.fromkeys(names, "Float64")}
    return Table("features", columns, BY_EVENT, "Every feature after every folded event; NaN until warm")


def tables(feature_names: Sequence[str]) -> tuple[Table, ...]:
    """Every table, in the order in which they are made."""
    return (
        TRADES, QUOTES, NEWS_SIGNALS, CORRECTIONS, features_table(feature_names), PREDICTIONS, OUTCOMES,
        OUTCOME_SCORES, CHALLENGER_SCORES, MODEL_CHANGES, ALERTS, RULE_CHANGES, BARS,
        LEDGER, MARKS, DEAD_LETTERS,
    )  # fmt: skip
