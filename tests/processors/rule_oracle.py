"""What alert rules must say, by the words of `schemas.rules`: one event after the other, with all of the past in lists.

It shares nothing with the kernel. It is given the rows, bars and outcomes of the fold, which have oracles of their own, and
walks them in plain Python.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from processors.batch import NS
from processors.shard import ShardOutput
from schemas.rules import Condition, Rule
from tests.processors.happenings import Happening, happenings

Said = tuple[int, str, str, bool, str, float, int]
"""(offset, rule, symbol, fired, field, value, time)"""


@dataclass
class Watched:
    """One rule on one symbol."""

    rule: Rule
    symbol: str
    on: list[bool] = field(default_factory=list)
    seen_off: list[bool] = field(default_factory=list)
    compared: list[float] = field(default_factory=list)
    past: list[tuple[list[int], list[float]]] = field(default_factory=list)
    """By condition: parts of the window, and the values in them, in this session; of outcomes all there were."""
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
        self.past = [([], []) for _ in range(n)]

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
                taken |= math.isfinite(value) and any(each.field == name for each in self.rule.conditions)
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
                    past[0].clear()
                    past[1].clear()
            for c, condition in enumerate(self.rule.conditions):
                if self.on[c] and not self.fired and not condition.field.startswith(("bar.", "outcome.")):
                    self.on[c] = self.seen_off[c] = False
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

    def _made(self, condition: Condition, past: tuple[list[int], list[float]], value: float, at: int) -> float:
        parts, values = past
        if condition.last:
            values.append(value)
            newest = values[-condition.last :]
            return sum(newest) / len(newest) if len(newest) == condition.last else math.nan
        if not condition.window_s:
            return value
        part = max([at // (round(condition.window_s * NS) // 16), *parts[-1:]])
        outside, found = bisect_right(parts, part - 16), math.nan
        if condition.op == "z_score":
            window = np.array(values[outside:])
            if len(window) >= 20 and window.min() < window.max():
                found = (value - float(window.mean())) / float(window.std(ddof=1))
        elif outside:
            was = values[outside - 1]
            found = value - was
            if condition.relative:
                found = found / abs(was) if was else math.nan
        parts.append(part)
        values.append(value)
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


def expected(rules: Mapping[int, Rule], output: ShardOutput, bar_kinds: Sequence[str]) -> list[Said]:
    """What rules say; each by the offset behind which it stands."""
    said = []
    watched = [
        (since, Watched(rule, name))
        for name in output.names
        for since, rule in rules.items()
        if not rule.symbols or name in rule.symbols
    ]
    fields = {condition.field for rule in rules.values() for condition in rule.conditions}
    for happening in happenings(output, bar_kinds, fields):
        concerned = {happening.symbol, *(sample[0] for sample in happening.samples)}
        for since, each in watched:
            if happening.offset <= since or not (happening.heartbeat or each.symbol in concerned):
                continue
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
