"""Shard: the fold of one partition. One function turns a stretch of the log into everything that is said about it.

The live dataflow calls `advance` with what a poll brought, the nightly replay with blocks of 65,536: for any split of the
same log the rows have the same bits. Everything that can fail (network, disk, clock) is outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.bars import KINDS, BarBuilder, BarKind, ClosedBars, RevisionRequests
from processors.batch import NS, EventBatch, Integers, Matrix
from processors.columns import SMALLEST_PRICE, SMALLEST_SIZE, EventColumns, LogStretch, dead_letter
from processors.controls import models_asked, rules_asked
from processors.features import FEATURES, FeatureEngine
from processors.feeds import FeedTimes
from processors.indicator import Indicator
from processors.interruptions import interruptions
from processors.labels import LabelRule, Labels, Matured, merged
from processors.ledger import REJECTED, Ledger, LedgerLine
from processors.market import MarketState, as_of
from processors.numbers import Numbers, SaidNumbers
from processors.per_symbol import PerSymbol
from processors.roster import Load, no_models
from processors.rule_fields import Vocabulary
from processors.rules import Alerting, Judged, Raised, RuleChanged
from processors.scores import Learner, Model, Scores, Warm, no_warm_start
from processors.scoring import Changed, Scoring
from processors.sessions import Sessions
from processors.snapshot import Remembered, copy_rows, decode_snapshot, encode_snapshot, put_rows, rows_of
from processors.symbols import SymbolTable
from processors.timeline import FOLDED, Placed, Timeline, place

OTHER_HORIZONS_NS: Final = (NS, 60 * NS, 300 * NS)


@dataclass(frozen=True, slots=True)
class FoldRules:
    """Everything that decides what the fold says, beside the log and the models; its repr goes into the step id."""

    lateness_ns: int = NS
    """An event this far behind its symbol's clock is folded at the clock; a later one is stored, not folded."""
    future_ns: int = 5 * NS
    """An event stamped further ahead of its arrival is rejected."""
    heartbeat_gap_ns: int = 5 * NS
    """Heartbeats of a venue further apart than this: nobody listened in between."""
    label: LabelRule = field(default_factory=lambda: LabelRule(others_ns=OTHER_HORIZONS_NS))
    bars: tuple[BarKind, ...] = KINDS
    max_symbols: int = 2_000
    learn_every: int = 256
    """Matured labels per learning step."""
    champion: str = "onnx"


@dataclass(frozen=True, slots=True)
class ShardOutput:
    """What one stretch made; `streams.rows` turns it into what is written.

    stretch   the admitted events, and what was rejected      events, placed   of the admitted, and where they went
    folded    which of them the rows are                      batch, scores    the rows
    names, venues   of every number                           features         float64 [features, rows]
    """

    partition: int
    stretch: LogStretch
    events: EventColumns
    placed: Placed
    folded: Integers
    names: Sequence[str]
    venues: Sequence[str]
    batch: EventBatch
    features: Matrix
    scores: Scores
    bars: ClosedBars
    requests: RevisionRequests
    """Bars that late trades, corrections and cancellations concern: `streams.revisions` adds their revisions to `bars`."""
    matured: Matured
    """Of the horizon that is learnt, with features."""
    outcomes: Matured
    """Of all horizons."""
    changes: Sequence[Changed]
    """Of the models."""
    alerts: Sequence[Raised]
    """In log order; those of one event in the order of symbol and rule."""
    rule_changes: Sequence[RuleChanged]
    ledger: Sequence[LedgerLine]
    counts: Sequence[int]
    """By `ledger.DOORS`, after this stretch, since the log began."""
    numbers: SaidNumbers | None = None
    """Once `Shard.number` has counted what is said."""


class Shard:
    """State of all symbols of one partition."""

    def __init__(
        self, partition: int, learner: Learner, onnx: Model | None, *, rules: FoldRules | None = None,
        sessions: Sessions | None = None, features: Mapping[str, Indicator] = FEATURES, load: Load = no_models,
        warm: Warm = no_warm_start,
    ) -> None:  # fmt: skip
        self.partition = partition
        self.rules = rules or FoldRules()
        self.sessions = sessions or Sessions()
        self.symbols = SymbolTable(self.rules.max_symbols)
        self.scoring = Scoring(learner, onnx, self.rules.champion, len(features), self.rules.learn_every, load, warm)
        self.alerting = Alerting(Vocabulary(tuple(features), [kind.name for kind in self.rules.bars]))
        self.ledger = Ledger.start()
        self._catalogue = features
        self._engine = FeatureEngine(features)
        self._per_symbol = self._started(self._engine.capacity)
        self._feeds = FeedTimes.start(16)
        self._broker_ms = np.zeros(1, np.int64)
        self._first = np.full(1, -1, np.int64)

    @property
    def learner(self) -> Learner:
        """The online model as it is now."""
        return self.scoring.learner

    def _started(self, symbols: int) -> PerSymbol:
        return PerSymbol(
            Timeline.start(symbols),
            MarketState.start(symbols),
            BarBuilder(self.rules.bars, symbols, self.rules.lateness_ns, self.rules.heartbeat_gap_ns),
            [
                Labels(rule, symbols, 0 if number else len(self._catalogue))
                for number, rule in enumerate(self.rules.label.horizons)
            ],
            np.zeros(symbols, np.int8),
            Numbers.start(symbols, len(self.rules.bars)),
        )

    def advance(self, stretch: LogStretch) -> ShardOutput:
        """Fold the next records of the log; nothing of what came before is changed by them."""
        stretch, events = self._admit(self._dated(stretch))
        self._grow()
        state, symbols = self._per_symbol, len(self.symbols.names)
        placed = place(events, state.timeline, symbols, self._calendars(), self.sessions, self.rules.lateness_ns)
        folded = np.flatnonzero(placed.door == FOLDED)
        batch = self._batch(events, placed, folded)
        features = self._engine.fold(batch, placed.fresh[folded])
        matrix = np.ascontiguousarray(features.T)
        owners = np.array(self.symbols.venue_of, np.int32)
        interrupted = interruptions(
            events, placed, state.timeline, self._feeds, state.halted, owners, self.rules.heartbeat_gap_ns
        )
        bars, requests = state.bars.fold(events, placed, state.timeline, self._feeds, symbols)
        matured = [
            labels.fold(
                events, placed, batch, stretch.offsets[folded], matrix, state.timeline, symbols, interrupted
            )
            for labels in state.labels
        ]  # fmt: skip
        scores, changes = self.scoring.score(matrix, matured[0], models_asked(stretch, events, folded), folded)
        for labels, told in zip(state.labels, matured, strict=True):
            _fill_scores(told, scores)
            labels.note_scores(symbols, scores)
        seen = Judged(
            events, placed, interrupted, folded, batch, features, scores, bars, matured[0], self.symbols
        )  # fmt: skip
        alerts, rule_changes = self.alerting.judge(seen, rules_asked(stretch, events))
        return ShardOutput(
            partition=self.partition, stretch=stretch, events=events, placed=placed, folded=folded,
            names=self.symbols.names, venues=self.symbols.venues, batch=batch, features=features, scores=scores,
            bars=bars, requests=requests, matured=matured[0], outcomes=merged(matured),
            changes=changes, alerts=alerts, rule_changes=rule_changes, ledger=self._enter(stretch, placed, matrix),
            counts=self.ledger.counts.tolist(),
        )  # fmt: skip

    def number(self, output: ShardOutput) -> ShardOutput:
        """The newest output of `advance`, its revisions added, with the number of everything that it says."""
        return replace(output, numbers=self._per_symbol.numbers.of(output, int(self._first[0])))

    def _dated(self, stretch: LogStretch) -> LogStretch:
        """The broker's time may not fall with the offsets: tables are partitioned by it, and blocks are atomic per part."""
        offsets = np.concatenate([stretch.offsets, np.array([x.offset for x in stretch.rejected], np.int64)])
        order = np.argsort(offsets, kind="stable")
        broker = np.concatenate([stretch.ts_broker, stretch.rejected_broker])
        broker[order] = np.maximum(np.maximum.accumulate(broker[order]), self._broker_ms[0])
        self._broker_ms[0] = max(int(self._broker_ms[0]), int(broker.max(initial=0)))
        if self._first[0] < 0 and len(offsets):
            self._first[0] = offsets.min()
        n = len(stretch.offsets)
        return replace(stretch, ts_broker=broker[:n], rejected_broker=broker[n:])

    def _admit(self, stretch: LogStretch) -> tuple[LogStretch, EventColumns]:
        """Refuse what cannot be folded, with its reason; number the symbols of the rest."""
        events = stretch.columns
        refused = dict.fromkeys(np.flatnonzero(events.bid > events.ask).tolist(), "crossed_quote")
        ahead = events.ts_event > events.ts_ingest + self.rules.future_ns
        refused |= dict.fromkeys(np.flatnonzero(ahead).tolist(), "future")
        tiny = (events.price < SMALLEST_PRICE) | (events.bid < SMALLEST_PRICE) | (events.ask < SMALLEST_PRICE)
        for size in (events.size, events.bid_size, events.ask_size):
            tiny |= (size > 0) & (size < SMALLEST_SIZE)
        refused |= dict.fromkeys(np.flatnonzero(tiny).tolist(), "invalid_value")
        if refused:
            stretch, events = _without(stretch, events, refused, self.partition)
        row, venue, refused = self.symbols.number(events)
        events = events.numbered(row, venue)
        if refused:
            stretch, events = _without(stretch, events, refused, self.partition)
        return stretch, events

    def _batch(self, events: EventColumns, placed: Placed, folded: Integers) -> EventBatch:
        n = len(folded)
        sign, last, mid = np.zeros(n, np.int8), np.empty(n), np.empty(n)
        kind, symbol, price, size = events.kind[folded], events.row[folded], events.price[folded], events.size[folded]
        bid, bid_size = events.bid[folded], events.bid_size[folded]
        ask, ask_size = events.ask[folded], events.ask_size[folded]
        as_of(
            kind, symbol, placed.fresh[folded], price, events.side[folded], bid, bid_size, ask, ask_size,
            self._per_symbol.market.known, sign, last, mid,
        )  # fmt: skip
        return EventBatch(
            kind=kind, symbol=symbol, now=placed.now[folded], price=price, size=size, sign=sign, bid=bid,
            bid_size=bid_size, ask=ask, ask_size=ask_size, last=last, mid=mid, sentiment=events.sentiment[folded],
            session_open=placed.opened[folded], session_close=placed.closes[folded],
        )  # fmt: skip

    def _enter(self, stretch: LogStretch, placed: Placed, matrix: Matrix) -> list[LedgerLine]:
        offsets = np.concatenate([stretch.offsets, np.array([x.offset for x in stretch.rejected], np.int64)])
        order = np.argsort(offsets, kind="stable")
        door = np.concatenate([placed.door, np.full(len(stretch.rejected), REJECTED, np.int8)])[order]
        broker = np.concatenate([stretch.ts_broker, stretch.rejected_broker])[order]
        newest = np.concatenate([placed.now, np.full(len(stretch.rejected), -1, np.int64)])[order]
        return self.ledger.enter(offsets[order], broker, door, newest, matrix)

    def _calendars(self) -> Integers:
        return np.array([*(self.sessions.calendar_number(venue) for venue in self.symbols.venues), 0], np.int64)

    def _grow(self) -> None:
        symbols, venues = len(self.symbols.names), len(self.symbols.venues)
        if symbols > self._per_symbol.symbols:
            self._engine.grow(symbols)
            grown = self._started(self._engine.capacity)
            copy_rows(self._per_symbol.arrays, grown.arrays)
            self._per_symbol = grown
        if venues > len(self._feeds.known):
            feeds = FeedTimes.start(2 * venues)
            copy_rows(self._feeds.arrays, feeds.arrays)
            self._feeds = feeds

    def snapshot(self) -> bytes:
        """Everything remembered, compact; `restore` on a shard made with the same arguments continues bit for bit."""
        symbols = len(self.symbols.names)
        return encode_snapshot(
            Remembered(
                names=self.symbols.names, venues=self.symbols.venues, venue_of=self.symbols.venue_of,
                learner=self.learner.snapshot(),
                per_symbol=rows_of([*self._per_symbol.arrays, *self._engine.arrays(symbols)], symbols),
                per_venue=rows_of(self._feeds.arrays, len(self.symbols.venues)),
                fixed=[array.tobytes() for array in self._fixed()], roster=self.scoring.roster,
                line_ups=list(self.scoring.line_ups), rules=list(self.alerting.standing),
                of_rules=[array.tobytes() for array in self.alerting.arrays],
            )
        )  # fmt: skip

    def restore(self, snapshot: bytes) -> None:
        """Continue where `snapshot` was taken; the learner must have been restored by its owner from the same bytes."""
        remembered = decode_snapshot(snapshot)
        self.symbols.restore(remembered.names, remembered.venues, remembered.venue_of)
        self.scoring.restore(remembered.roster, remembered.line_ups)
        self.alerting.restore(remembered.rules, remembered.of_rules, self.symbols)
        self._grow()
        per_symbol = [*self._per_symbol.arrays, *self._engine.arrays(self._engine.capacity)]
        put_rows(per_symbol, len(remembered.names), remembered.per_symbol)
        put_rows(self._feeds.arrays, len(remembered.venues), remembered.per_venue)
        for array, raw in zip(self._fixed(), remembered.fixed, strict=True):
            array[...] = np.frombuffer(raw, array.dtype).reshape(array.shape)

    def _fixed(self) -> list[NDArray[Any]]:
        return [*self.scoring.arrays, *self.ledger.arrays, self._broker_ms, self._first]


def _without(
    stretch: LogStretch, events: EventColumns, refused: Mapping[int, str], partition: int
) -> tuple[LogStretch, EventColumns]:
    """The stretch without the refused events, which become dead letters."""
    kept = np.ones(len(stretch.events), np.bool_)
    kept[list(refused)] = False
    letters = [dead_letter(stretch, at, refused[at], partition) for at in sorted(refused)]
    return stretch.chosen(kept, letters), events.chosen(kept)


def _fill_scores(matured: Matured, scores: Scores) -> None:
    """Predictions of this very stretch that matured in it were parked before they had scores."""
    here = matured.batch_row >= 0
    matured.scores[here] = scores.by_model[matured.batch_row[here]]
    matured.line_up[here] = scores.line_up[matured.batch_row[here]]
