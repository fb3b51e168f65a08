"""What the fold said as messages for our topics, and the newest row of each symbol."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import isfinite
from typing import TypeAlias

import numpy as np

from processors.bars import REASONS
from processors.interruptions import REASONS as VOID
from processors.shard import ShardOutput
from schemas.rows import Bar, Latest, Outcome, Prediction
from schemas.topics import ALERTS, BARS, DEAD_LETTERS, OUTCOMES, PREDICTIONS
from streams.columns import finite
from streams.rule_rows import alerts_of

Message: TypeAlias = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class MessageMaker:
    """Makes messages from what a shard said; a score that is not finite is said as null."""

    log_id: str
    feature_names: Sequence[str]
    features_id: str
    bar_kinds: Sequence[str]

    def predictions(self, output: ShardOutput) -> list[Message]:
        """One per folded event."""
        batch, scores = output.batch, output.scores
        symbols = [output.names[row] for row in batch.symbol.tolist()]
        rows = map(
            Prediction, symbols, batch.now.tolist(), output.events.ts_ingest[output.folded].tolist(),
            repeat(self.log_id), repeat(output.partition), output.stretch.offsets[output.folded].tolist(),
            batch.mid.tolist(), finite(scores.p_up).tolist(), self._champions(output),
            finite(scores.by_model[:, 0]).tolist(), finite(scores.by_model[:, 1]).tolist(), repeat(self.features_id),
            repeat(0) if output.numbers is None else output.numbers.predictions.tolist(),
        )  # fmt: skip
        return list(zip(symbols, PREDICTIONS.encode_all(rows), strict=True))

    def _champions(self, output: ShardOutput) -> Iterable[str]:
        line_ups, told = output.scores.line_ups, output.scores.line_up
        if not len(told):
            return ()
        if told[0] == told[-1]:  # they only go up
            return repeat(line_ups[told[0]].champion)
        return [line_ups[number].champion for number in told.tolist()]

    def bars(self, output: ShardOutput) -> list[Message]:
        """One per closed bar."""
        bars, offsets, numbers = output.bars, output.stretch.offsets, output.numbers
        messages = []
        for b in range(len(bars)):
            first, high, low, last, volume, value = bars.numbers[b].tolist()
            stamps = bars.stamps[b].tolist()
            bar = Bar(
                symbol=output.names[bars.row[b]], kind=self.bar_kinds[bars.kind[b]], start=stamps[0], end=stamps[1],
                open=first, high=high, low=low, close=last, volume=volume, value=value, n_trades=stamps[2],
                rev=int(bars.rev[b]), reason=REASONS[bars.reason[b]], late_n=stamps[7], gap_ms=int(bars.gap_ms[b]),
                partial=bool(bars.partial[b]),
                log_id=self.log_id, src_partition=output.partition, src_offset=int(offsets[bars.event[b]]),
                seq=0 if numbers is None else int(numbers.bars[b]),
                kind_seq=0 if numbers is None else int(numbers.of_kind[b]),
            )  # fmt: skip
            messages.append((bar.symbol, BARS.encode(bar)))
        return messages

    def outcomes(self, output: ShardOutput) -> list[Message]:
        """One per prediction and horizon that has passed, or is void."""
        m, offsets = output.outcomes, output.stretch.offsets
        numbers = np.column_stack([m.price[:, 1], np.log(m.price[:, 1] / m.price[:, 0]), m.label, finite(m.scores)])
        messages = []
        for k, (matured, log_return, label, online, onnx, *others) in enumerate(numbers.tolist()):
            at, predicted = m.stamps[k].tolist()
            horizon, line_up = int(m.horizon[k]), output.scores.line_ups[m.line_up[k]]
            outcome = Outcome(
                symbol=output.names[m.row[k]], ts_event=at, ts_matured=at + horizon, horizon_ns=horizon,
                log_id=self.log_id, src_partition=output.partition, src_offset=int(offsets[m.event[k]]),
                predicted_offset=predicted, price=float(m.price[k, 0]), price_matured=matured, log_return=log_return,
                label=label, online=online, onnx=onnx, void=VOID[m.void[k]], onnx_id=line_up.onnx,
                challengers={name: p for name, p in zip(line_up.challengers, others, strict=True) if isfinite(p)},
                seq=0 if output.numbers is None else int(output.numbers.outcomes[k]),
            )  # fmt: skip
            messages.append((outcome.symbol, OUTCOMES.encode(outcome)))
        return messages

    def alerts(self, output: ShardOutput) -> list[Message]:
        """One per rule that fired or cleared."""
        return [(alert.symbol, ALERTS.encode(alert)) for alert in alerts_of(self.log_id, output)]

    def dead_letters(self, output: ShardOutput) -> list[Message]:
        """One per record that could not be used."""
        return [(letter.source, DEAD_LETTERS.encode(letter)) for letter in output.stretch.rejected]

    def latest(self, output: ShardOutput) -> list[Latest]:
        """The last row of every symbol in the stretch."""
        batch, n = output.batch, len(output.folded)
        symbols, from_end = np.unique(batch.symbol[::-1], return_index=True)
        entries = []
        for symbol, row in zip(symbols.tolist(), (n - 1 - from_end).tolist(), strict=True):
            event = int(output.folded[row])
            online, onnx = finite(output.scores.by_model[row, :2]).tolist()
            latest = Latest(
                symbol=output.names[symbol], ts_event=int(batch.now[row]),
                ts_ingest=int(output.events.ts_ingest[event]), log_id=self.log_id, src_partition=output.partition,
                src_offset=int(output.stretch.offsets[event]), price=float(batch.mid[row]), bid=float(batch.bid[row]),
                ask=float(batch.ask[row]), p_up=float(finite(output.scores.p_up[row : row + 1])[0]),
                champion=output.scores.line_ups[output.scores.line_up[row]].champion, online=online, onnx=onnx,
                features_id=self.features_id,
                features=dict(zip(self.feature_names, output.features[:, row].tolist(), strict=True)),
                seq=0 if output.numbers is None else int(output.numbers.predictions[row]),
            )  # fmt: skip
            entries.append(latest)
        return entries
