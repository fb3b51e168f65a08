"""The same job written the usual way: per event, with each library's own connectors and row-at-a-time calls.

Bytewax's `KafkaSource` and `KafkaSink`, `stateful_map` with an object a symbol (infra/bench/per_event.py), River's
`predict_proba_one`, and `learn_one` once the horizon has passed, ONNX Runtime with one row, `collect` and inserts of a thousand
rows, a pipeline of `SET` for Redis. It does less than ours, in its favour: no recovery, no ledger, no duplicates or late events,
no bars, no outcomes, 24 indicators instead of all of ours.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter
from typing import Any, Final, TypeAlias

import bytewax.operators as op
import msgspec
import numpy as np
import redis
from bytewax._bytewax import run_main
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from confluent_kafka.admin import AdminClient, NewTopic
from river import compose, linear_model, preprocessing

from infra.bench.machine import cpu_seconds
from infra.bench.per_event import SymbolState
from infra.bench.workbench import Workbench, in_child, records
from infra.clickhouse import Database, connect
from infra.composition import model_path
from infra.kafka import client_config
from infra.log_identity import current_log
from infra.settings import Settings
from models import manifest as manifests
from models.onnx import INPUT, OUTPUT, open_session
from processors.features import FEATURES_ID
from schemas.errors import BackendError
from schemas.events import Event, Quote, Trade
from schemas.rows import Prediction
from schemas.topics import EVENTS, PREDICTIONS

TOPIC: Final = "usual.predictions"
EVENT: Final = ("symbol", "ts_event", "ts_ingest")
SOURCE: Final = ("src_partition", "src_offset")
TABLES: Final[Mapping[str, Sequence[str]]] = {
    "usual_features": ("symbol", "ts_event", *SOURCE, *SymbolState.NAMES),
    "usual_predictions": (*EVENT, *SOURCE, "p_up", "online", "onnx"),
    "usual_trades": (*EVENT, "price", "size", "side"),
    "usual_quotes": (*EVENT, "bid", "bid_size", "ask", "ask_size"),
}
TYPES: Final[Mapping[str, str]] = {
    "symbol": "LowCardinality(String)", "side": "LowCardinality(String)", "ts_event": "DateTime64(9)",
    "ts_ingest": "DateTime64(9)", "src_partition": "UInt16", "src_offset": "Int64",
}  # fmt: skip
HORIZON_NS: Final = 10_000_000_000
LABEL_EVERY_NS: Final = 1_000_000_000
INSERT_ROWS: Final = 1_000
Row: TypeAlias = tuple[Trade | Quote, Prediction, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Usual:
    """One run of the usual way: `scored` trades and quotes, from the first message to the last row stored."""

    scored: int
    seconds: float
    cpu: Mapping[str, float]
    """Processor seconds by process, since before the flow was built."""

    @property
    def rate(self) -> float:
        """Events per second, end to end."""
        return self.scored / self.seconds


def run_usual(bench: Workbench) -> Usual:
    """Score what is on the log; `BackendError` where rows or messages are missing afterwards."""
    kafka, database = bench.settings.kafka, connect(bench.settings.clickhouse.url.get_secret_value())
    admin = AdminClient(client_config(kafka))
    admin.create_topics([NewTopic(TOPIC, kafka.partitions, 1)])[TOPIC].result(15)
    for table, names in TABLES.items():
        columns = ", ".join(f"`{name}` {TYPES.get(name, 'Float64')}" for name in names)
        database.command(f"CREATE TABLE default.{table} ({columns}) ENGINE = MergeTree ORDER BY (symbol, ts_event)")
    before = {name: cpu_seconds(pid) for name, pid in bench.pids().items()}
    scored, seconds, own = in_child(_run, bench.settings)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in bench.pids().items()}
    stored = [database.rows(f"SELECT count() FROM default.{table}").rows[0][0] for table in TABLES]  # noqa: S608
    database.close()
    sent = records(kafka, TOPIC)
    if {scored, sent} != {stored[0], stored[1], stored[2] + stored[3]}:
        raise BackendError(
            f"{scored} events were scored, {sent} messages sent, and rows stored of {list(TABLES)}: {stored}"
        )
    return Usual(scored, seconds, {"usual": own, **used})


def _run(settings: Settings) -> tuple[int, float, float]:
    """(events scored, seconds, processor seconds) of the flow, in this process."""
    content = model_path(settings).with_name(manifests.load(model_path(settings)).file).read_bytes()
    scorer = Scorer(open_session(content), current_log(settings.kafka).log_id)
    database = connect(settings.clickhouse.url.get_secret_value())
    client = redis.Redis.from_url(settings.redis.url.get_secret_value())
    run_main(_flow(settings.kafka.bootstrap.split(","), scorer, database, client))  # type: ignore[no-untyped-call]
    return scorer.scored, perf_counter() - scorer.began, cpu_seconds(os.getpid())


def _flow(brokers: Sequence[str], scorer: "Scorer", database: Database, client: redis.Redis) -> Dataflow:
    flow = Dataflow("usual")
    messages = op.input("messages", flow, KafkaSource(brokers, [EVENTS.name], tail=False))
    events = op.flat_map("decode", messages, _decoded)
    rows = op.stateful_map("score", events, scorer)
    said = op.map("encode", rows, lambda keyed: KafkaSinkMessage(keyed[0].encode(), PREDICTIONS.encode(keyed[1][1])))
    op.output("predictions", said, KafkaSink(brokers, TOPIC))
    together = op.map("together", rows, lambda keyed: ("rows", keyed[1]))
    blocks = op.collect("blocks", together, timeout=timedelta(seconds=1), max_size=INSERT_ROWS)
    op.output("clickhouse", blocks, _Each(lambda blocks: _insert(database, blocks)))
    op.output("redis", rows, _Each(lambda items: _set(client, items)))
    return flow


def _decoded(message: KafkaSourceMessage[bytes, bytes]) -> Iterator[tuple[str, tuple[Event, int, int]]]:
    event = EVENTS.decode(message.value)
    if isinstance(event, Trade | Quote):
        yield event.symbol, (event, message.partition or 0, message.offset or 0)


@dataclass(slots=True)
class _Symbol:
    """State of one symbol: its indicators, and the predictions whose horizon has not passed."""

    state: SymbolState = field(default_factory=SymbolState)
    parked: deque[tuple[int, float, Mapping[str, float]]] = field(default_factory=deque)


class Scorer:
    """`stateful_map`'s mapper: one event in, one row out; learns what has matured first."""

    def __init__(self, session: Any, log_id: str) -> None:
        self._session, self._log_id = session, log_id
        self._online = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
        self._width = session.get_inputs()[0].shape[1]
        self.scored, self.began = 0, 0.0

    def __call__(self, symbol: _Symbol | None, told: tuple[Trade | Quote, int, int]) -> tuple[_Symbol, Row]:
        self.began = self.began or perf_counter()
        symbol, (event, partition, offset) = symbol or _Symbol(), told
        features = symbol.state.add(event)
        self._learn(symbol, event.ts_event, features)
        online = self._online.predict_proba_one(features).get(True, 0.5)
        row = np.full((1, self._width), np.nan, np.float32)
        row[0, : len(features)] = list(features.values())
        onnx = float(self._session.run([OUTPUT], {INPUT: row})[0].ravel()[-1])
        self.scored += 1
        prediction = Prediction(
            symbol=event.symbol, ts_event=event.ts_event, ts_ingest=event.ts_ingest, log_id=self._log_id,
            src_partition=partition, src_offset=offset, price=symbol.state.mid, p_up=onnx, champion="onnx",
            online=online, onnx=onnx, features_id=FEATURES_ID,
        )  # fmt: skip
        return symbol, (event, prediction, features)

    def _learn(self, symbol: _Symbol, now: int, features: Mapping[str, float]) -> None:
        parked, price = symbol.parked, symbol.state.mid
        while parked and parked[0][0] + HORIZON_NS < now:
            _, before, known = parked.popleft()
            if price != before:
                self._online.learn_one(known, price > before)
        if not parked or parked[-1][0] + LABEL_EVERY_NS <= now:
            parked.append((now, price, features))


class _Each(DynamicSink[Any]):
    """A sink that hands on what it is given, list by list."""

    def __init__(self, write: Callable[[list[Any]], Any]) -> None:
        self._write = write

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Part":  # noqa: ARG002
        return _Part(self._write)


class _Part(StatelessSinkPartition[Any]):
    def __init__(self, write: Callable[[list[Any]], Any]) -> None:
        self._write = write

    def write_batch(self, items: list[Any]) -> None:
        self._write(items)


def _insert(database: Database, blocks: Sequence[tuple[str, Sequence[Row]]]) -> None:
    """A block into each table."""
    for _, rows in blocks:
        said: dict[str, Sequence[Any]] = {
            "usual_predictions": [row[1] for row in rows],
            "usual_trades": [row[0] for row in rows if isinstance(row[0], Trade)],
            "usual_quotes": [row[0] for row in rows if isinstance(row[0], Quote)],
        }
        for table, objects in said.items():
            if objects:
                block = {name: [getattr(each, name) for each in objects] for name in TABLES[table]}
                database.insert(f"default.{table}", block)
        names = TABLES["usual_features"][:4]
        features: dict[str, Any] = {name: [getattr(row[1], name) for row in rows] for name in names}
        features |= {name: [row[2][name] for row in rows] for name in SymbolState.NAMES}
        database.insert("default.usual_features", features)


def _set(client: redis.Redis, items: Sequence[tuple[str, Row]]) -> None:
    """The newest row of each symbol."""
    pipeline = client.pipeline(transaction=False)
    for symbol, (_, prediction, features) in items:
        pipeline.set(f"usual:{symbol}", msgspec.json.encode((prediction, features)))
    pipeline.execute()
