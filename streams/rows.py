"""What the fold said as columns for ClickHouse: one block a table, whichever partitions and polls it came from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.bars import REASONS
from processors.batch import KIND_NAMES, NEWS, PRINT, QUOTE, TRADE
from processors.columns import CANCEL, CORRECT
from processors.interruptions import REASONS as VOID
from processors.shard import ShardOutput
from processors.timeline import DUPLICATE, LATE
from streams.columns import Block, Words, finite
from streams.marks import mark_columns, marked
from streams.model_rows import changed_at, changes, put_challengers, put_outcome_scores
from streams.rule_rows import alert_columns, changed_rules_at, raised_at, rule_change_columns

SIDES: Final = ("sell", "unknown", "buy")


@dataclass(frozen=True, slots=True)
class RowMaker:
    """Makes the rows of every table from what a shard said."""

    log_id: str
    feature_names: Sequence[str]
    features_id: str
    bar_kinds: Sequence[str]
    words: Words = field(default_factory=Words)

    def blocks(self, output: ShardOutput) -> dict[str, Block]:
        """Table name to columns; tables without a row are left out, which for a small stretch are most."""
        symbols = self.words.codes_of(output.names)
        made: dict[str, Block] = {}
        self._put_events(made, output, symbols)
        if len(output.folded):
            made["features"] = self._features(output, symbols)
            made["predictions"] = self._predictions(output, symbols)
            put_challengers(made, output, symbols, self.words, self._source)
        if len(output.outcomes):
            made["outcomes"] = self._outcomes(output, symbols)
            put_outcome_scores(made, output, symbols, self.words, self._source)
        if output.changes:
            made["model_changes"] = {**changes(output), **self._source(output, changed_at(output))}
        if output.alerts:
            made["alerts"] = {**alert_columns(self.log_id, output), **self._source(output, raised_at(output))}
        if output.rule_changes:
            made["rule_changes"] = {**rule_change_columns(output), **self._source(output, changed_rules_at(output))}
        if len(output.bars):
            made["bars"] = self._bars(output, symbols)
        if output.ledger:
            made["ledger"] = self._ledger(output)
        if len(at := marked(output)):
            made["marks"] = {**mark_columns(output, at), **self._source(output, at)}
        if output.stretch.rejected:
            made["dead_letters"] = self._dead_letters(output)
        return made

    def _put_events(self, made: dict[str, Block], output: ShardOutput, symbols: NDArray[Any]) -> None:
        """Rows of the events that are no duplicates."""
        venues = self.words.codes_of(output.venues)
        accepted = np.flatnonzero(output.placed.door != DUPLICATE)
        kind = output.events.kind[accepted]
        for table, kinds, rows in (
            ("trades", (TRADE, PRINT), self._trades),
            ("quotes", (QUOTE,), self._quotes),
            ("news", (NEWS,), self._news),
            ("corrections", (CORRECT, CANCEL), self._corrections),
        ):
            at = accepted[(kind == kinds[0]) | (kind == kinds[-1])]
            if len(at):
                made[table] = {
                    **self._event(output, at, symbols, venues),
                    **rows(output, at),
                    **self._source(output, at),
                }

    def _source(self, output: ShardOutput, at: NDArray[Any]) -> Block:
        """The source columns of rows that events `at` of the stretch made."""
        return self._origin(output.partition, output.stretch.offsets[at], output.stretch.ts_broker[at])

    def _origin(self, partition: int, offset: NDArray[Any], ts_broker: NDArray[Any]) -> Block:
        n = len(offset)
        return {
            "log_id": (np.full(n, self.words.codes([self.log_id])[0]), self.words.all),
            "src_partition": np.full(n, partition, np.uint16),
            "src_offset": offset,
            "ts_broker": ts_broker,
        }

    def _event(self, output: ShardOutput, at: NDArray[Any], symbols: NDArray[Any], venues: NDArray[Any]) -> Block:
        e = output.events
        return {
            "symbol": (symbols[e.row[at]], self.words.all),
            "venue": (venues[e.venue[at]], self.words.all),
            "seq": e.seq[at],
            "ts_event": e.ts_event[at],
            "ts_ingest": e.ts_ingest[at],
        }

    def _trades(self, output: ShardOutput, at: NDArray[Any]) -> Block:
        e = output.events
        told: list[Any] = [output.stretch.events[i] for i in at.tolist()]
        return {
            "price": e.price[at],
            "size": e.size[at],
            "side": (e.side[at] + 1, SIDES),
            "trade_id": [event.trade_id for event in told],
            "conditions": [event.conditions for event in told],
            "in_bars": e.kind[at] == TRADE,
            "late": output.placed.door[at] == LATE,
        }

    def _quotes(self, output: ShardOutput, at: NDArray[Any]) -> Block:
        e = output.events
        return {
            "bid": e.bid[at],
            "bid_size": e.bid_size[at],
            "ask": e.ask[at],
            "ask_size": e.ask_size[at],
            "late": output.placed.door[at] == LATE,
        }

    def _news(self, output: ShardOutput, at: NDArray[Any]) -> Block:
        e = output.events
        told: list[Any] = [output.stretch.events[i] for i in at.tolist()]
        return {
            "sentiment": e.sentiment[at],
            "item_id": [event.item_id for event in told],
            "words": np.array([event.words for event in told], np.uint32),
            "late": output.placed.door[at] == LATE,
        }

    def _corrections(self, output: ShardOutput, at: NDArray[Any]) -> Block:
        e = output.events
        told: list[Any] = [output.stretch.events[i] for i in at.tolist()]
        return {
            "kind": ((e.kind[at] == CANCEL).astype(np.int64), ("correct", "cancel")),
            "refers_seq": np.array([event.refers_seq for event in told], np.uint64),
            "price": e.price[at],
            "size": e.size[at],
        }

    def _features(self, output: ShardOutput, symbols: NDArray[Any]) -> Block:
        batch = output.batch
        return {
            "symbol": (symbols[batch.symbol], self.words.all),
            "ts_event": batch.now,
            "kind": (batch.kind, KIND_NAMES),
            **dict(zip(self.feature_names, output.features, strict=True)),
            **self._source(output, output.folded),
        }

    def _predictions(self, output: ShardOutput, symbols: NDArray[Any]) -> Block:
        batch, scores, n = output.batch, output.scores, len(output.folded)
        champions = self.words.codes([each.champion for each in scores.line_ups])
        serving = self.words.codes([each.onnx for each in scores.line_ups])
        return {
            "symbol": (symbols[batch.symbol], self.words.all),
            "ts_event": batch.now,
            "ts_ingest": output.events.ts_ingest[output.folded],
            "price": batch.mid,
            "p_up": finite(scores.p_up),
            "champion": (champions[scores.line_up], self.words.all),
            "online": finite(scores.by_model[:, 0]),
            "onnx": finite(scores.by_model[:, 1]),
            "online_steps": scores.steps,
            "onnx_id": (serving[scores.line_up], self.words.all),
            "features_id": (np.zeros(n, np.int64), (self.features_id,)),
            **self._source(output, output.folded),
        }

    def _outcomes(self, output: ShardOutput, symbols: NDArray[Any]) -> Block:
        m = output.outcomes
        return {
            "symbol": (symbols[m.row], self.words.all),
            "ts_event": m.stamps[:, 0],
            "ts_matured": m.stamps[:, 0] + m.horizon,
            "horizon_ns": m.horizon,
            "predicted_offset": m.stamps[:, 1],
            "price": m.price[:, 0],
            "price_matured": m.price[:, 1],
            "log_return": np.log(m.price[:, 1] / m.price[:, 0]),
            "label": m.label,
            "void": (m.void, VOID),
            "online": finite(m.scores[:, 0]),
            "onnx": finite(m.scores[:, 1]),
            "onnx_id": (self.words.codes([each.onnx for each in output.scores.line_ups])[m.line_up], self.words.all),
            **self._source(output, m.event),
        }

    def _bars(self, output: ShardOutput, symbols: NDArray[Any]) -> Block:
        bars = output.bars
        numbers = dict(zip(("open", "high", "low", "close", "volume", "value"), bars.numbers.T, strict=True))
        return {
            "symbol": (symbols[bars.row], self.words.all),
            "kind": (bars.kind, self.bar_kinds),
            "start": bars.stamps[:, 0],
            "end": bars.stamps[:, 1],
            **numbers,
            "n_trades": bars.stamps[:, 2],
            "rev": bars.rev,
            "reason": (bars.reason, REASONS),
            "late_n": bars.stamps[:, 7],
            "gap_ms": bars.gap_ms,
            "partial": bars.partial,
            **self._source(output, bars.event),
        }

    def _ledger(self, output: ShardOutput) -> Block:
        lines = output.ledger
        counts = np.array([line.counts for line in lines], np.uint64).reshape(-1, 5)
        folded, duplicate, late, control, rejected = counts.T
        return {
            "ts_event": np.array([line.ts_event for line in lines], np.int64),
            "events_in": counts.sum(axis=1),
            "folded": folded,
            "duplicate": duplicate,
            "late": late,
            "rejected": rejected,
            "control": control,
            "features_hash": np.array([line.features_hash for line in lines], np.uint64),
            "features_id": [self.features_id] * len(lines),
            "first_offset": np.array([line.first_offset for line in lines], np.int64),
            **self._origin(
                output.partition,
                np.array([line.offset for line in lines], np.int64),
                np.array([line.ts_broker for line in lines], np.int64),
            ),
        }

    def _dead_letters(self, output: ShardOutput) -> Block:
        letters = output.stretch.rejected
        return {
            "source": [letter.source for letter in letters],
            "reason": [letter.reason for letter in letters],
            "detail": [letter.detail for letter in letters],
            "ts_ingest": np.array([letter.ts_ingest for letter in letters], np.int64),
            "raw": [letter.raw for letter in letters],
            **self._origin(
                output.partition,
                np.array([letter.offset for letter in letters], np.int64),
                output.stretch.rejected_broker,
            ),
        }
