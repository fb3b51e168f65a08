"""`python -m infra.warm_up`: compiles every kernel, so that set-up pays for it and no first tick does."""

from typing import Any

import numpy as np

from models.online import OnlineModel
from models.onnx import narrowed
from processors.batch import NS
from processors.features import FEATURE_NAMES
from processors.labels import LabelRule
from processors.shard import FoldRules, Shard
from schemas.events import Control, Event, Heartbeat, NewsSignal, Quote, Trade
from schemas.rules import Condition, Rule, RuleChange, body_of_rule
from schemas.topics import EVENTS
from streams.decode import Poll, decode


def compile_all() -> None:
    """Fold a minute of two symbols through everything; Numba then finds the machine code in its cache."""
    rules = FoldRules(label=LabelRule(horizon_ns=NS, every_ns=NS), learn_every=8)
    shard = Shard(0, OnlineModel(FEATURE_NAMES), None, rules=rules)
    values = EVENTS.encode_all(_minute())
    at = range(len(values))
    for poll in (Poll(0, values, at, at), Poll(0, [], [], [])):
        shard.number(shard.advance(decode(poll)))
    assert shard.alerting.standing
    narrowed(np.zeros((1, 1)))


def _minute() -> list[Event]:
    condition = Condition(field="last", op=">", threshold=1.0)
    change = RuleChange(action="add", id="r", rule=Rule(id="r", conditions=(condition,)))
    at = 1_700_000_000 * NS
    events: list[Event] = [Control(topic="rules", id="r", ts_event=at, ts_ingest=at, body=body_of_rule(change))]
    for second in range(1, 60):
        at = 1_700_000_000 * NS + second * NS
        events.append(Heartbeat(venue="V", seq=second, ts_event=at, ts_ingest=at))
        for symbol in ("A", "B"):
            told: dict[str, Any] = {"symbol": symbol, "venue": "V", "seq": second, "ts_event": at, "ts_ingest": at}
            price = 10 + second % 7
            events.append(Quote(**told, bid=price - 0.5, bid_size=1, ask=price + 0.5, ask_size=1))
            events.append(Trade(**told, price=price, size=1))
        events.append(NewsSignal(**(told | {"venue": "W"}), sentiment=0.5, item_id=str(second)))
    return events


if __name__ == "__main__":
    compile_all()
