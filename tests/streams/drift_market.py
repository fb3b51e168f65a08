"""A market that may drift, as events, through the real fold: outcomes and features come out as they do live."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset
from models.online import OnlineModel
from processors.columns import LogStretch
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.labels import LabelRule
from processors.roster import Load, no_models
from processors.scores import Model
from processors.shard import FoldRules, Shard
from schemas.control import MODELS, ModelChange, body_of
from schemas.events import Control, Event, Heartbeat, Quote, Trade
from schemas.rows import Outcome
from schemas.topics import OUTCOMES
from streams.messages import MessageMaker

NS: Final = 1_000_000_000
STEP_S: Final = 5
HORIZON_NS: Final = 10 * NS
MINUTE_STEPS: Final = 60 // STEP_S
SYMBOLS: Final = ("AAA", "BBB", "CCC")
VENUE: Final = "SIM"
RULES: Final = FoldRules(label=LabelRule(horizon_ns=HORIZON_NS, every_ns=STEP_S * NS, others_ns=(60 * NS,)))
STEP_SIGMA: Final = 2e-4
PULL: Final = 0.6
"""How far a full imbalance of the book moves the next price, in deviations of a step."""


@dataclass
class Market:
    """Three symbols, quotes and trades every five seconds; the book leans, and the price follows the way it leans.

    loud: a factor on every move of the price. meaning: 1, or -1 where the price moves against the book. Both may be changed
    between two calls of `minutes`.
    """

    seed: int
    at_s: int = 0
    loud: float = 1.0
    meaning: float = 1.0
    _rng: np.random.Generator = field(init=False)
    _seq: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._log_price = np.log(np.array([100.0, 50.0, 200.0]))
        self._lean = np.zeros(len(SYMBOLS))
        self._mood = np.zeros(len(SYMBOLS))

    def minutes(self, minutes: int) -> list[Event]:
        """What is said in them."""
        return [event for _ in range(minutes * MINUTE_STEPS) for event in self._step()]

    def _step(self) -> Iterator[Event]:
        rng, n = self._rng, len(SYMBOLS)
        moved = PULL * self.meaning * self._lean + rng.standard_normal(n)
        self._mood += -0.01 * self._mood + 0.02 * rng.standard_normal(n)
        self._log_price += STEP_SIGMA * self.loud * np.exp(self._mood) * moved
        self._lean = 0.8 * self._lean + 0.6 * rng.standard_normal(n)
        share = 1 / (1 + np.exp(-self._lean))
        size, buys = rng.lognormal(3.0, 0.5, n), rng.random(n) < share
        quoted, traded = rng.random(n) < 0.85, rng.random(n) < 0.8
        wide = 1e-4 * rng.integers(1, 4, n)
        ts = self.at_s * NS
        self.at_s += STEP_S
        yield Heartbeat(venue=VENUE, seq=self._next(), ts_event=ts, ts_ingest=ts)
        for i, name in enumerate(SYMBOLS):
            mid = float(np.exp(self._log_price[i]))
            bid, ask = mid * (1 - wide[i] / 2), mid * (1 + wide[i] / 2)
            if quoted[i]:
                yield Quote(
                    symbol=name, venue=VENUE, seq=self._next(), ts_event=ts, ts_ingest=ts, bid=bid, ask=ask,
                    bid_size=float(200 * share[i]), ask_size=float(200 * (1 - share[i])),
                )  # fmt: skip
            if traded[i]:
                yield Trade(
                    symbol=name, venue=VENUE, seq=self._next(), ts_event=ts, ts_ingest=ts,
                    price=ask if buys[i] else bid, size=float(size[i]), side="buy" if buys[i] else "sell",
                )  # fmt: skip

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def change(self, action: str, model: str) -> Control:
        """A change of the models, at this moment."""
        said = ModelChange(action=action, model=model)  # type: ignore[arg-type]
        ts = self.at_s * NS
        return Control(topic=MODELS, id=model, ts_event=ts, ts_ingest=ts, body=body_of(said))


@dataclass
class Floor:
    """The real shard of one partition, and the features that it stored. What it is told comes out as outcomes."""

    onnx: Model | None = None
    load: Load = no_models
    shard: Shard = field(init=False)
    next_offset: int = 0
    _stored: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    _messages: MessageMaker = field(default_factory=lambda: MessageMaker("log", FEATURE_NAMES, FEATURES_ID, ()))
    _kept: list[tuple[NDArray[np.float64], ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shard = Shard(0, OnlineModel(FEATURE_NAMES), self.onnx, rules=RULES, load=self.load)

    def fold(self, events: Sequence[Event]) -> list[Outcome]:
        """The events through the fold, what matured through the topic's own encoding."""
        n = len(events)
        offsets = np.arange(self.next_offset, self.next_offset + n)
        self.next_offset += n
        broker = np.array([event.ts_event // 1_000_000 for event in events], np.int64)
        output = self.shard.advance(LogStretch(events, [b""] * n, offsets, broker, [], np.empty(0, np.int64)))
        assert not output.stretch.rejected
        self._stored.update(zip(output.stretch.offsets[output.folded].tolist(), output.features.T, strict=True))
        m = output.matured
        good = m.void == 0
        names = np.array(output.names, object)[m.row] if len(m) else np.empty(0, object)
        self._kept.append((
            m.features[good], m.label[good], m.price[good], m.stamps[good, 0], names[good],
        ))  # fmt: skip
        return [OUTCOMES.decode(raw) for _, raw in self._messages.outcomes(output)]

    @property
    def serves(self) -> str:
        """Id of the model that clients see."""
        return self.shard.scoring.line_ups[-1].onnx

    def rows(self, outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """`streams.drift_watch.FeatureRows`."""
        columns = [FEATURE_NAMES.index(name) for name in names]
        at = [self._stored[outcome.predicted_offset] for outcome in outcomes]
        return np.array(at)[:, columns], np.ones(len(at), np.bool_)

    def dataset(self, since_s: float = 0) -> Dataset:
        """What matured, as the nightly's matrix has it; of predictions since then."""
        features, label, price, ts, names = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        order = np.lexsort((names.astype(str), ts))
        order = order[ts[order] >= since_s * NS]
        symbol = np.searchsorted(SYMBOLS, names[order].astype(str))
        returns = np.log(price[order, 1] / price[order, 0])
        return Dataset(
            np.ascontiguousarray(features[order]), label[order], returns, ts[order], symbol.astype(np.int64), SYMBOLS,
            FEATURE_NAMES, HORIZON_NS,
        )  # fmt: skip
