"""The records of a log as what they say of symbols, one after the other: what rules are judged by, in plain Python."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from processors.batch import NEWS, NS
from processors.columns import HEARTBEAT
from processors.features import FEATURE_NAMES
from processors.shard import ShardOutput
from processors.timeline import FOLDED

GAP_NS = 5 * NS
PRICES = {"last", "mid", "bid", "ask", "bid_size", "ask_size", "trade_size", "sentiment"}


@dataclass
class Happening:
    """One record of the log: what it says of symbols. samples: (symbol, field, value, time of it, what must be in session)."""

    offset: int
    venue: str
    heartbeat: bool
    gap: bool
    up: bool = True
    symbol: str = ""
    news: bool = False
    now: int = 0
    session: tuple[int, int, int] = (0, 0, 0)
    samples: list[tuple[str, str, float, int, int]] = field(default_factory=list)


def happenings(output: ShardOutput, bar_kinds: Sequence[str], fields: set[str]) -> list[Happening]:
    """The records of a log that was folded whole, and what they say of these fields."""
    events, placed, batch = output.events, output.placed, output.batch
    rows = {int(event): row for row, event in enumerate(output.folded.tolist())}
    beats: dict[str, int] = {}
    down: set[str] = set()
    homes = {name: home(output, name) for name in output.names}
    found = []
    for i, offset in enumerate(output.stretch.offsets.tolist()):
        venue = output.venues[events.venue[i]] if events.venue[i] >= 0 else ""
        each = Happening(offset, venue, events.kind[i] == HEARTBEAT, gap=False, now=int(events.ts_event[i]))
        if each.heartbeat:
            up, before = bool(events.up[i]), beats.get(venue)
            each.gap = venue not in down and before is not None and each.now - before > GAP_NS
            each.up = up
            beats[venue] = each.now if before is None else max(before, each.now)
            (down.discard if up else down.add)(venue)
        elif placed.door[i] == FOLDED:
            row = rows[i]
            each.symbol, each.news = output.names[batch.symbol[row]], batch.kind[row] == NEWS
            each.now = int(batch.now[row])
            each.session = (int(placed.opened[i]), int(placed.closes[i]), int(placed.until[i]))
            its, since = homes[each.symbol]
            each.gap = i >= since and its in beats and each.now - beats[its] > GAP_NS
        found.append(each)
    _bars(found, output, bar_kinds)
    _outcomes(found, output)
    for i, row in rows.items():
        _row(found[i], output, row, fields)
    for each in found:
        each.samples = [sample for sample in each.samples if sample[1] in fields]
    return found


def home(output: ShardOutput, symbol: str) -> tuple[str, int]:
    """The venue of a symbol, and its first trade or quote, by which that is known."""
    number = output.names.index(symbol)
    for i in np.flatnonzero(output.events.row == number).tolist():
        if output.events.kind[i] != NEWS:
            return output.venues[output.events.venue[i]], i
    return "", len(output.events.kind)


def _bars(found: list[Happening], output: ShardOutput, kinds: Sequence[str]) -> None:
    bars = output.bars
    for b in range(len(bars)):
        symbol, kind, start, end = output.names[bars.row[b]], kinds[bars.kind[b]], *bars.stamps[b, :2].tolist()
        for name, value in zip(
            ("open", "high", "low", "close", "volume", "value"), bars.numbers[b].tolist(), strict=True
        ):
            found[bars.event[b]].samples.append((symbol, f"bar.{kind}.{name}", value, end, start))


def _outcomes(found: list[Happening], output: ShardOutput) -> None:
    m = output.matured
    for k in range(len(m)):
        symbol, at, label = output.names[m.row[k]], int(m.stamps[k, 0]), float(m.label[k])
        line_up = output.scores.line_ups[m.line_up[k]]
        online, onnx = m.scores[k, :2].tolist()
        first, second = (online, onnx) if line_up.champion == "online" else (onnx, online)
        p = first if math.isfinite(first) else second
        into = found[m.event[k]].samples
        if label in (0.0, 1.0) and math.isfinite(p):
            into.append((symbol, "outcome.hit_rate", 0.5 if p == 0.5 else float((p > 0.5) == (label == 1.0)), 0, at))
            into.append((symbol, "outcome.brier", (p - label) ** 2, 0, at))
        if math.isfinite(label):
            into.append((symbol, "outcome.log_return", float(np.log(m.price[k, 1] / m.price[k, 0])), 0, at))


def _row(happening: Happening, output: ShardOutput, row: int, fields: set[str]) -> None:
    batch, scores, now = output.batch, output.scores, happening.now
    models = [f"score.{name}" for name in scores.line_ups[scores.line_up[row]].models]
    for name in fields:
        if name in FEATURE_NAMES:
            value = output.features[FEATURE_NAMES.index(name), row]
        elif name == "score.p_up":
            value = scores.p_up[row]
        elif name in models:
            value = scores.by_model[row, models.index(name)]
        elif name in PRICES:
            value = getattr(batch, "size" if name == "trade_size" else name)[row]
        else:
            continue
        happening.samples.append((happening.symbol, name, float(value), now, now))
