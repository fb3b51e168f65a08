"""Markets of which nothing can be known, features and a learner that give a leak away, and hit rates with intervals."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bootstrap import Blocks, Interval, percentile
from models.dataset import Dataset
from models.online import OnlineModel
from processors.batch import NS, Column, EventBatch, Matrix
from processors.indicator import Indicator
from processors.labels import LabelRule, Matured
from processors.roster import Load, no_models
from processors.shard import FoldRules, Shard, ShardOutput
from schemas.events import Quote
from tests.logs import START, stretch

HORIZON_NS = 2 * NS
EVERY_NS = NS // 4
GAP_NS = NS // 10
LABEL = LabelRule(horizon_ns=HORIZON_NS, every_ns=EVERY_NS)
BLOCK_NS = 10 * HORIZON_NS
CHANCE = 0.999
"""Level of the intervals: so many of them may be asked to hold chance."""
WIDEST = 0.12
"""An interval that is wider would hold chance whatever leaks."""


def quotes(steps: NDArray[np.float64], imbalance: NDArray[np.float64]) -> list[Quote]:
    """Two symbols in turn, a quote every tenth of a second; `steps` [n] of the log price, book imbalance [n] in (-1, 1)."""
    mids = [100.0, 50.0]
    out = []
    for i, (step, lean) in enumerate(zip(steps.tolist(), imbalance.tolist(), strict=True)):
        at, s = START + i * GAP_NS // 2, i % 2
        mids[s] *= 1.0 + step
        out.append(
            Quote(
                symbol=f"S{s}", venue="X", seq=i + 1, ts_event=at, ts_ingest=at, bid=mids[s] - 0.001, ask=mids[s] + 0.001,
                bid_size=100.0 * (1.0 + lean), ask_size=100.0 * (1.0 - lean),
            )
        )  # fmt: skip
    return out


def unknowable(n: int, seed: int = 0) -> list[Quote]:
    """Steps that depend on nothing."""
    rng = np.random.default_rng(seed)
    return quotes(rng.normal(0.0, 1e-4, n), rng.uniform(-0.9, 0.9, n))


@dataclass(frozen=True)
class Computed:
    """An indicator from a function of the batch; nothing is remembered."""

    of: Callable[[EventBatch], Column]

    def start(self, symbols: int) -> "Computed":
        return self

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return ()

    def fold(self, batch: EventBatch, out: Column) -> None:
        out[:] = self.of(batch)


def seconds(batch: EventBatch) -> Column:
    return (batch.now - START) / NS


def symbol(batch: EventBatch) -> Column:
    return batch.symbol.astype(np.float64)


def future(batch: EventBatch) -> Column:
    """The future label itself: 1 or 0 by the price a horizon later, NaN where the batch does not reach so far."""
    out = np.full(len(batch), np.nan)
    for s in np.unique(batch.symbol).tolist():
        mine = np.flatnonzero(batch.symbol == s)
        now, mid = batch.now[mine], batch.mid[mine]
        reached = np.searchsorted(now, now + HORIZON_NS, side="right") - 1
        told = now[-1] > now + HORIZON_NS
        out[mine[told]] = mid[reached[told]] > mid[told]
    return out


@dataclass
class NewestTold:
    """An indicator that gives the newest label that was told of the symbol: what a feed of our own outcomes would say."""

    values: dict[int, float] = field(default_factory=dict)

    def start(self, symbols: int) -> "NewestTold":
        return self

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return ()

    def fold(self, batch: EventBatch, out: Column) -> None:
        out[:] = [self.values.get(s, np.nan) for s in batch.symbol.tolist()]


@dataclass
class Cheat:
    """A learner that cheats where it can: it answers a row with the taught label that lies nearest in time, on either side.

    Its features are `seconds` and `symbol`. Where no label is taught before its horizon has passed, the nearest one is of a
    stretch that ended before the row, and tells nothing. Any label taught earlier overlaps what is asked.
    """

    id: str = "cheat"
    steps: int = 0
    at: dict[float, list[float]] = field(default_factory=dict)
    label: dict[float, list[float]] = field(default_factory=dict)

    def score(self, features: Matrix) -> Column:
        return np.array([self._nearest(at, s) for at, s in features.tolist()])

    def _nearest(self, at: float, s: float) -> float:
        times, labels = self.at.get(s, []), self.label.get(s, [])
        i = bisect_right(times, at)
        near = [j for j in (i - 1, i) if 0 <= j < len(times)]
        return labels[min(near, key=lambda j: abs(times[j] - at))] if near else 0.5

    def learn(self, features: Matrix, labels: Column) -> None:
        self.steps += 1
        for (at, s), label in zip(features.tolist(), labels.tolist(), strict=True):
            i = bisect_right(self.at.setdefault(s, []), at)
            self.at[s].insert(i, at)
            self.label.setdefault(s, []).insert(i, label)

    def snapshot(self) -> bytes:
        return b""


@dataclass(frozen=True)
class Outcomes:
    """Matured predictions in order of their time, those with a direction: scores [n, SCORES]."""

    ts: NDArray[np.int64]
    label: Column
    scores: Matrix

    def hit_rate(self, column: int = 0) -> Interval:
        """Share of right directions of one model, 0.5 where it took no side, with its interval."""
        p = self.scores[:, column]
        hits = np.where(p == 0.5, 0.5, ((p > 0.5) == (self.label == 1.0)).astype(np.float64))
        blocks = Blocks.of(self.ts, block_ns=BLOCK_NS, draws=2_000)
        return percentile(*blocks.ratio(hits, np.ones(len(hits))), CHANCE)


def online(features: Mapping[str, Indicator], load: Load = no_models) -> Shard:
    """A fold whose online model learns from these features alone."""
    rules = FoldRules(label=LABEL, learn_every=16)
    return Shard(0, OnlineModel(tuple(features)), None, rules=rules, features=features, load=load)


def cheating() -> Shard:
    """A fold with the learner that cheats; it learns every label as soon as it is told."""
    rules = FoldRules(label=LABEL, learn_every=1)
    return Shard(0, Cheat(), None, rules=rules, features={"seconds": Computed(seconds), "symbol": Computed(symbol)})


def fed(
    on: Shard, events: Sequence[Any], size: int, heard: Callable[[ShardOutput], None] = lambda _: None, first: int = 0
) -> list[ShardOutput]:
    """The events in stretches of this size; `heard` is given the output of each before the next one comes."""
    outputs = []
    for start in range(0, len(events), size):
        outputs.append(on.advance(stretch(events[start : start + size], first + start)))
        heard(outputs[-1])
    return outputs


def outcomes(outputs: Sequence[ShardOutput]) -> Outcomes:
    parts: list[Matured] = [output.matured for output in outputs]
    label = np.concatenate([part.label for part in parts])
    ts = np.concatenate([part.stamps[:, 0] for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    directed = np.flatnonzero((label == 0.0) | (label == 1.0))
    order = directed[np.argsort(ts[directed], kind="stable")]
    return Outcomes(ts[order], label[order], scores[order])


def matrix(outputs: Sequence[ShardOutput], names: Sequence[str]) -> Dataset:
    """What the nightly would train on."""
    parts = [output.matured for output in outputs]
    ts = np.concatenate([part.stamps[:, 0] for part in parts])
    price = np.concatenate([part.price for part in parts])
    label = np.concatenate([part.label for part in parts])
    order = np.argsort(ts, kind="stable")
    order = order[~np.isnan(label[order])]
    return Dataset(
        np.concatenate([part.features for part in parts])[order], label[order], np.log(price[:, 1] / price[:, 0])[order],
        ts[order], np.concatenate([part.row for part in parts]).astype(np.int64)[order], outputs[-1].names, tuple(names),
        HORIZON_NS,
    )  # fmt: skip


def at_chance(found: Interval) -> bool:
    """Chance lies within the interval, and the interval is narrow enough to say something."""
    return found.high - found.low < WIDEST and found.low <= 0.5 <= found.high
