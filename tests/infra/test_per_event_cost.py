"""What the usual way costs beside ours, from the bytes of a log to scores: processor time of the same records, in one process."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from infra.bench.peers import Scorer, _Symbol
from infra.bench.workbench import NS, Market
from models.online import OnlineModel
from processors.features import FEATURE_NAMES
from processors.shard import Shard
from schemas.events import Quote, Trade
from schemas.topics import EVENTS
from streams.decode import Poll, decode
from tests.fakes import ConstantModel

COUNT, POLL, ROUNDS = 8_000, 1_000, 3
RATE = 400.0
"""Events a second of their own time: as dense as the benchmark's, so that few of them are learnt from."""


class Session:
    """ONNX Runtime as a constant: what the model costs is the same to both."""

    def get_inputs(self) -> Sequence[Any]:
        return [SimpleNamespace(shape=[None, len(FEATURE_NAMES)])]

    def run(self, *_: object) -> Sequence[Any]:
        return [np.array([[0.4, 0.6]])]


def usual(values: Sequence[bytes]) -> int:
    """Events scored one by one."""
    scorer, symbols = Scorer(Session(), "log"), dict[str, _Symbol]()
    for offset, value in enumerate(values):
        event = EVENTS.decode(value)
        if isinstance(event, Trade | Quote):
            symbols[event.symbol], _ = scorer(symbols.get(event.symbol), (event, 0, offset))
    return scorer.scored


def ours(values: Sequence[bytes]) -> int:
    """Events scored a poll at a time."""
    shard, scored = Shard(0, OnlineModel(FEATURE_NAMES), ConstantModel(0.6, "m0")), 0
    for first in range(0, len(values), POLL):
        found = values[first : first + POLL]
        offsets = list(range(first, first + len(found)))
        scored += len(shard.advance(decode(Poll(0, list(found), offsets, offsets))).folded)
    return scored


def test_scoring_a_poll_costs_far_less_than_scoring_its_events_one_by_one() -> None:
    """Taken in turns, the best of each: a busy machine slows both, and ten times as much was measured on one."""
    market = Market(1_795_357_800 * NS, RATE, 0, COUNT)
    values = [EVENTS.encode(event) for chunk in market.events() for event in chunk]
    ways, spent = (usual, ours), dict[str, list[float]]()
    counts = {way.__name__: way(values) for way in ways}  # compiles what is compiled
    assert all(0.9 * COUNT < count <= COUNT for count in counts.values()), counts
    for _ in range(ROUNDS):
        for way in ways:
            began = time.process_time()
            way(values)
            spent.setdefault(way.__name__, []).append(time.process_time() - began)
    assert min(spent["usual"]) > 4 * min(spent["ours"])
