"""What alert rules must say, by the words of `schemas.rules`: one event after the other, with all of the past in lists.

It shares nothing with the kernel. It is given the rows, bars and outcomes of the fold, which have oracles of their own, and
walks them in plain Python.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from processors.batch import KIND_NAMES, NEWS, NS
from processors.columns import HEARTBEAT
from processors.features import FEATURE_NAMES
from processors.shard import ShardOutput
from processors.timeline import FOLDED
from schemas.rules import Condition, Rule

GAP_NS = 5 * NS
Said = tuple[int, str, str, bool, str, float, int]
"""(offset, rule, symbol, fired, field, value, time)"""


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


def happenings(output: ShardOutput, bar_kinds: Sequence[str]) -> list[Happening]:
    """The records of a log that was folded whole."""
    events, placed, batch = output.events, output.placed, output.batch
    rows = {int(event): row for row, event in enumerate(output.folded.tolist())}
    beats: dict[str, int] = {}
    down: set[str] = set()
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
            its = home(output, each.symbol, i)
            each.gap = its in beats and each.now - beats[its] > GAP_NS
        found.append(each)
    _bars(found, output, bar_kinds)
    _outcomes(found, output)
    for i, row in rows.items():
        _row(found[i], output, row)
    return found


def home(output: ShardOutput, symbol: str, event: int) -> str:
    """The venue of a symbol: of its first trade or quote, up to this event."""
    number = output.names.index(symbol)
    for i in range(event + 1):
        if output.events.row[i] == number and output.events.kind[i] != NEWS:
            return output.venues[output.events.venue[i]]
    return ""


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


def _row(happening: Happening, output: ShardOutput, row: int) -> None:
    batch, scores = output.batch, output.scores
    assert batch.kind[row] < len(KIND_NAMES)
    values = {name: float(getattr(batch, name)[row]) for name in ("last", "mid", "bid", "ask", "bid_size", "ask_size")}
    values |= {"trade_size": float(batch.size[row]), "sentiment": float(batch.sentiment[row])}
    values |= {name: float(output.features[f, row]) for f, name in enumerate(FEATURE_NAMES)}
    models = scores.line_ups[scores.line_up[row]].models
    values |= {f"score.{name}": float(scores.by_model[row, c]) for c, name in enumerate(models) if name}
    values["score.p_up"] = float(scores.p_up[row])
    now = happening.now
    happening.samples += [(happening.symbol, name, value, now, now) for name, value in values.items()]


@dataclass
class Watched:
    """One rule on one symbol."""

    rule: Rule
    symbol: str
    on: list[bool] = field(default_factory=list)
    seen_off: list[bool] = field(default_factory=list)
    compared: list[float] = field(default_factory=list)
    past: list[list[tuple[int, float]]] = field(default_factory=list)
    """By condition: (part of the window, value) in this session; of outcomes all there were."""
    holds_since: int | None = None
    fired: bool = False
    fired_at: int | None = None
    venue: str = ""
    now: int = -1
    session: tuple[int, int, int] = (-1, -1, -1)
    down: bool = False

    def __post_init__(self) -> None:
        n = len(self.rule.conditions)
        self.on, self.seen_off, self.compared = [False] * n, [False] * n, [math.nan] * n
        self.past = [[] for _ in range(n)]

    def look(self, happening: Happening) -> tuple[bool, int] | None:
        """What the rule says of it: (fired or cleared, condition), or nothing."""
        mine = happening.symbol == self.symbol
        if mine and happening.news and self.rule.venue and not self.venue:
            mine = False
        taken = False
        now = max(self.now, happening.now)
        early = [s for s in happening.samples if s[0] == self.symbol and s[1].startswith(("bar.", "outcome."))]
        for _, name, value, at, within in early:
            if self._counts(now, within):
                self._sample(name, value, at)
                taken = True
        if mine:
            self._enter(happening)
            if self._counts(self.now, self.now):
                for symbol, name, value, at, _ in happening.samples:
                    if symbol == self.symbol and not name.startswith(("bar.", "outcome.")):
                        self._sample(name, value, at)
                taken = True
            elif not taken and not self.fired:
                self.holds_since = None
            return self._judge() if taken else None
        its = happening.heartbeat and happening.venue == self.venue != ""
        if its or taken:
            self.now = now
        if its:
            if (happening.gap or self.down or not happening.up) and not self.fired:
                self.holds_since = None
            self.down = not happening.up
        passes = its and happening.up and self.now < self.session[2] and self._counts(self.now, self.now)
        return self._judge() if taken or passes else None

    def _enter(self, happening: Happening) -> None:
        if not happening.news:
            self.venue = happening.venue
        self.now = max(self.now, happening.now)
        fresh = happening.session[2] != self.session[2]
        if fresh:
            self.session = happening.session
            for past, condition in zip(self.past, self.rule.conditions, strict=True):
                if condition.window_s:
                    past.clear()
        if (fresh or happening.gap or self.down) and not self.fired:
            self.holds_since = None

    def _counts(self, now: int, within: int) -> bool:
        rule = self.rule
        if rule.expires and now >= rule.expires:
            return False
        if rule.venue and self.venue != rule.venue:
            return False
        return rule.session == "any" or self.session[0] <= within < self.session[1]

    def _sample(self, name: str, value: float, at: int) -> None:
        for c, condition in enumerate(self.rule.conditions):
            if condition.field != name or not math.isfinite(value):
                continue
            x = self._made(condition, self.past[c], value, at)
            if not math.isfinite(x):
                continue
            self.compared[c] = x
            falls = condition.op in ("<", "crosses_below") or (condition.window_s > 0 and condition.threshold < 0)
            beyond = x < condition.threshold if falls else x > condition.threshold
            back = (
                x >= condition.threshold + condition.hysteresis if falls else x <= condition.threshold - condition.hysteresis
            )  # fmt: skip
            if self.on[c]:
                if back:
                    self.on[c], self.seen_off[c] = False, True
            elif beyond and (self.seen_off[c] or not condition.op.startswith("crosses")):
                self.on[c] = True
            elif back:
                self.seen_off[c] = True

    def _made(self, condition: Condition, past: list[tuple[int, float]], value: float, at: int) -> float:
        if condition.last:
            past.append((0, value))
            newest = [x for _, x in past[-condition.last :]]
            return sum(newest) / len(newest) if len(newest) == condition.last else math.nan
        if not condition.window_s:
            return value
        part = max([at // (round(condition.window_s * NS) // 16), *(p for p, _ in past[-1:])])
        found = math.nan
        if condition.op == "z_score":
            window = np.array([x for p, x in past if p > part - 16])
            if len(window) >= 20 and len(set(window.tolist())) > 1:
                found = (value - float(window.mean())) / float(window.std(ddof=1))
        else:
            before = [x for p, x in past if p <= part - 16]
            if before and condition.relative:
                found = (value - before[-1]) / abs(before[-1]) if before[-1] else math.nan
            elif before:
                found = value - before[-1]
        past.append((part, value))
        return found

    def _judge(self) -> tuple[bool, int] | None:
        holds = all(self.on) if self.rule.match == "all" else any(self.on)
        if self.fired:
            if holds:
                return None
            self.fired, self.holds_since = False, None
        elif not holds:
            self.holds_since = None
            return None
        else:
            self.holds_since = self.now if self.holds_since is None else self.holds_since
            if self.now - self.holds_since < round(self.rule.dwell_s * NS):
                return None
            if self.fired_at is not None and self.now - self.fired_at < round(self.rule.cool_down_s * NS):
                return None
            self.fired, self.fired_at = True, self.now
        why = next(c for c, on in enumerate(self.on) if on == holds and not math.isnan(self.compared[c]))
        return holds, why


def expected(
    rules: Sequence[Rule], output: ShardOutput, bar_kinds: Sequence[str], since: int = -1, until: int | None = None
) -> list[Said]:
    """What rules say of the records behind `since` and before `until`."""
    said = []
    watched = [
        Watched(rule, name) for name in output.names for rule in rules if not rule.symbols or name in rule.symbols
    ]
    for happening in happenings(output, bar_kinds):
        if happening.offset <= since or (until is not None and happening.offset >= until):
            continue
        for each in watched:
            answer = each.look(happening)
            if answer is not None:
                fired, why = answer
                condition = each.rule.conditions[why]
                value = each.compared[why]
                said.append((happening.offset, each.rule.id, each.symbol, fired, condition.field, value, each.now))
    return said


def said(outputs: Sequence[ShardOutput]) -> list[Said]:
    """What the fold said."""
    found = []
    for output in outputs:
        for alert in output.alerts:
            rule = alert.standing.rule
            found.append((
                int(output.stretch.offsets[alert.event]), rule.id, output.names[alert.row], alert.fired,
                rule.conditions[alert.condition].field, alert.value, alert.now,
            ))  # fmt: skip
    return found


def same(found: Sequence[Said], wanted: Sequence[Said]) -> bool:
    """Equal but for the last bits of the values."""
    if len(found) != len(wanted):
        return False
    return all(
        one[:5] == other[:5] and one[6] == other[6] and math.isclose(one[5], other[5], rel_tol=1e-6, abs_tol=1e-9)
        for one, other in zip(found, wanted, strict=True)
    )
