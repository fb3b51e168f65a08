"""What the fold said as columns for ClickHouse: one block a table, whichever partitions and polls it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from processors.batch import KIND_NAMES, NEWS, PRINT, QUOTE, TRADE
from processors.columns import CANCEL, CORRECT
from processors.shard import ShardOutput
from processors.timeline import DUPLICATE, LATE

Coded: TypeAlias = tuple[NDArray[Any], Sequence[str]]
Column: TypeAlias = NDArray[Any] | list[Any] | Coded
Block: TypeAlias = dict[str, Column]
SIDES: Final = ("sell", "unknown", "buy")


@dataclass(slots=True)
class Words:
    """Numbers for strings that recur, shared by all blocks of a process."""

    known: dict[str, int] = field(default_factory=dict)
    all: list[str] = field(default_factory=list)

    def codes(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Number of each word; new ones are numbered."""
        for word in words:
            if word not in self.known:
                self.known[word] = len(self.all)
                self.all.append(word)
        return np.array([self.known[word] for word in words], np.int64)


@dataclass(frozen=True, slots=True)
class RowMaker:
    """Makes the rows of every table from what a shard said."""

    log_id: str
    feature_names: Sequence[str]
    features_id: str
    champion: str
    onnx_id: str
    bar_kinds: Sequence[str]
    horizon_ns: int
    words: Words = field(default_factory=Words)

    def blocks(self, output: ShardOutput) -> dict[str, Block]:
        """Table name to columns; tables without a row are left out."""
        symbols, venues = self.words.codes(output.names), self.words.codes(output.venues)
        made = {
            "trades": self._trades(output, symbols, venues),
            "quotes": self._quotes(output, symbols, venues),
            "news": self._news(output, symbols, venues),
            "corrections": self._corrections(output, symbols, venues),
            "features": self._features(output, symbols),
            "predictions": self._predictions(output, symbols),
            "outcomes": self._outcomes(output, symbols),
            "bars": self._bars(output, symbols),
            "ledger": self._ledger(output),
            "dead_letters": self._dead_letters(output),
        }
        return {table: block for table, block in made.items() if len(block["src_offset"])}

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

    def _accepted(self, output: ShardOutput, *kinds: int) -> NDArray[Any]:
        """Events of these kinds that are no duplicates."""
        kind = output.events.kind
        return np.flatnonzero(np.isin(kind, kinds) & (output.placed.door != DUPLICATE))

    def _event(self, output: ShardOutput, at: NDArray[Any], symbols: NDArray[Any], venues: NDArray[Any]) -> Block:
        e = output.events
        return {
            "symbol": (symbols[e.row[at]], self.words.all),
            "venue": (venues[e.venue[at]], self.words.all),
            "seq": e.seq[at],
            "ts_event": e.ts_event[at],
            "ts_ingest": e.ts_ingest[at],
        }

    def _trades(self, output: ShardOutput, symbols: NDArray[Any], venues: NDArray[Any]) -> Block:
        at, e = self._accepted(output, TRADE, PRINT), output.events
        told: list[Any] = [output.stretch.events[i] for i in at.tolist()]
        return {
            **self._event(output, at, symbols, venues),
            "price": e.price[at],
            "size": e.size[at],
            "side": (e.side[at] + 1, SIDES),
            "trade_id": [event.trade_id for event in told],
            "conditions": [event.conditions for event in told],
            "in_bars": e.kind[at] == TRADE,
            "late": output.placed.door[at] == LATE,
            **self._source(output, at),
        }

    def _quotes(self, output: ShardOutput, symbols: NDArray[Any], venues: NDArray[Any]) -> Block:
        at, e = self._accepted(output, QUOTE), output.events
        return {
            **self._event(output, at, symbols, venues),
            "bid": e.bid[at],
            "bid_size": e.bid_size[at],
            "ask": e.ask[at],
            "ask_size": e.ask_size[at],
            "late": output.placed.door[at] == LATE,
            **self._source(output, at),
        }

    def _news(self, output: ShardOutput, symbols: NDArray[Any], venues: NDArray[Any]) -> Block:
        at, e = self._accepted(output, NEWS), output.events
        told: list[Any] = [output.stretch.events[i] for i in at.tolist()]
        return {
            **self._event(output, at, symbols, venues),
            "sentiment": e.sentiment[at],
            "item_id": [event.item_id for event in told],
            "words": np.array([event.words for event in told], np.uint32),
            "late": output.placed.door[at] == LATE,
            **self._source(output, at),
        }

    def _corrections(self, output: ShardOutput, symbols: NDArray[Any], venues: NDArray[Any]) -> Block:
        at, e = self._accepted(output, CORRECT, CANCEL), output.events
        told: list[Any] = [output.stretch.events[i] for i in at.tolist()]
        return {
            **self._event(output, at, symbols, venues),
            "kind": ((e.kind[at] == CANCEL).astype(np.int64), ("correct", "cancel")),
            "refers_seq": np.array([event.refers_seq for event in told], np.uint64),
            "price": e.price[at],
            "size": e.size[at],
            **self._source(output, at),
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
        return {
            "symbol": (symbols[batch.symbol], self.words.all),
            "ts_event": batch.now,
            "ts_ingest": output.events.ts_ingest[output.folded],
            "price": batch.mid,
            "p_up": finite(scores.p_up),
            "champion": (np.zeros(n, np.int64), (self.champion,)),
            "online": finite(scores.by_model[:, 0]),
            "onnx": finite(scores.by_model[:, 1]),
            "online_steps": scores.steps,
            "onnx_id": (np.zeros(n, np.int64), (self.onnx_id,)),
            "features_id": (np.zeros(n, np.int64), (self.features_id,)),
            **self._source(output, output.folded),
        }

    def _outcomes(self, output: ShardOutput, symbols: NDArray[Any]) -> Block:
        m = output.matured
        return {
            "symbol": (symbols[m.row], self.words.all),
            "ts_event": m.stamps[:, 0],
            "ts_matured": m.stamps[:, 0] + self.horizon_ns,
            "horizon_ns": np.full(len(m), self.horizon_ns, np.int64),
            "predicted_offset": m.stamps[:, 1],
            "price": m.price[:, 0],
            "price_matured": m.price[:, 1],
            "log_return": np.log(m.price[:, 1] / m.price[:, 0]),
            "label": m.label,
            "online": finite(m.scores[:, 0]),
            "onnx": finite(m.scores[:, 1]),
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
            "rev": np.zeros(len(bars), np.uint32),
            "reason": (np.zeros(len(bars), np.int64), ("closed",)),
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


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """With NaN, which is written as NULL, for what is not finite: such scores are not published."""
    return np.where(np.isfinite(values), values, np.nan)


def joined(blocks: Sequence[Block]) -> Block:
    """One block of several with the same columns, in order."""
    if len(blocks) == 1:
        return blocks[0]
    return {name: _joined_column([block[name] for block in blocks]) for name in blocks[0]}


def _joined_column(parts: list[Column]) -> Column:
    first = parts[0]
    if isinstance(first, tuple):
        return np.concatenate([part[0] for part in parts]), first[1]
    if isinstance(first, list):
        return [value for part in parts for value in part]
    return np.concatenate(parts)  # type: ignore[arg-type]


def chosen(block: Mapping[str, Column], rows: NDArray[np.bool_]) -> Block:
    """The marked rows."""
    picked: Block = {}
    for name, column in block.items():
        if isinstance(column, tuple):
            picked[name] = (column[0][rows], column[1])
        elif isinstance(column, list):
            picked[name] = [column[i] for i in np.flatnonzero(rows).tolist()]
        else:
            picked[name] = column[rows]
    return picked
