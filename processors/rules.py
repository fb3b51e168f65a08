"""Alert rules in the fold: which stand, from the log alone, and what they say of every update.

A change is in force from the record behind the one that says it, as changes of the models are. What rules remember is theirs:
they read rows, scores, bars and outcomes, and change none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from processors.bars import ClosedBars
from processors.batch import Codes, EventBatch, Integers, Matrix
from processors.columns import EventColumns
from processors.interruptions import Interruptions
from processors.labels import Matured
from processors.rule_fields import Compiled, Vocabulary, compiled, numbers_of, outcome_values, row_values
from processors.rule_kernel import judge
from processors.rule_state import Pairs, no_pairs, pairs_of
from processors.scores import Scores
from processors.symbols import SymbolTable
from processors.timeline import Placed
from schemas.errors import RuleError
from schemas.rules import MOST_RULES, Rule, RuleChange

MOST_NUMBERS: Final = 16_000_000
"""That rules may remember of one partition, if it has as many symbols as it may: 128 MB."""
ROOM: Final = 256
"""Alerts of one call of the kernel, beside one for every pair."""


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """A rule in force; `rev` counts its changes."""

    rule: Rule
    rev: int = 1


@dataclass(frozen=True, slots=True)
class RuleAsked:
    """Event `event` of the stretch says a change, or something else, which `change` then tells; `id` is the control's."""

    event: int
    id: str
    change: RuleChange | str


@dataclass(frozen=True, slots=True)
class RuleChanged:
    """A change and what came of it: `refused` says why it changed nothing. rev: of the rule that stands behind it, else 0."""

    event: int
    id: str
    action: str
    by: str
    why: str
    refused: str
    rule: Rule | None
    rev: int


@dataclass(frozen=True, slots=True)
class Raised:
    """A rule fired, or cleared, at an event of the stretch; `row`: of the symbol. condition: the first that is why."""

    event: int
    row: int
    standing: Standing
    fired: bool
    condition: int
    value: float
    now: int


@dataclass(frozen=True, slots=True)
class Judged:
    """All that rules may look at, of one stretch."""

    events: EventColumns
    placed: Placed
    interrupted: Interruptions
    folded: Integers
    batch: EventBatch
    features: Matrix
    scores: Scores
    bars: ClosedBars
    matured: Matured
    symbols: SymbolTable


@dataclass(slots=True)
class Alerting:
    """The rules of one partition. `fixed`: they are not changed by the log, as in a back-test."""

    vocabulary: Vocabulary
    standing: tuple[Standing, ...] = ()
    fixed: bool = False
    _compiled: Compiled | None = None
    _pairs: Pairs = field(default_factory=no_pairs)
    _known: tuple[int, int, int] = (0, 0, 0)
    """Symbols, venues, and symbols without one, for which the pairs were made."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered beside the rules."""
        return self._pairs.arrays

    def stand(self, standing: Sequence[Standing], symbols: SymbolTable) -> None:
        """From now on these rules; what is remembered of those that stood before stays."""
        places = {id(each): number for number, each in enumerate(standing)}
        before, pairs = self.standing, self._pairs
        self.standing = tuple(standing)
        rules = [each.rule for each in standing]
        self._compiled = compiled(rules, self.vocabulary, symbols.venues)
        self._pairs = pairs_of(rules, self._compiled, symbols.names, symbols.venue_of)
        self._pairs.take(pairs, [places.get(id(each), -1) for each in before], self._compiled)
        self._known = _extent(symbols)

    def judge(self, seen: Judged, asked: Sequence[RuleAsked]) -> tuple[list[Raised], list[RuleChanged]]:
        """Judge every event of a stretch by the rules that stand before it."""
        asked = () if self.fixed else asked
        if not self.standing and not asked:
            return [], []
        if self.standing and self._known != _extent(seen.symbols):
            self.stand(self.standing, seen.symbols)
        raised: list[Raised] = []
        changed: list[RuleChanged] = []
        first = 0
        for edge in (*asked, None):
            stop = len(seen.events.kind) if edge is None else edge.event + 1
            if self.standing:
                raised += self._judge(seen, first, stop)
            if edge is not None:
                turn, standing = turned(self.standing, edge, self.vocabulary)
                changed.append(turn)
                if not turn.refused:
                    self.stand(standing, seen.symbols)
            first = stop
        return raised, changed

    def _judge(self, seen: Judged, first: int, stop: int) -> list[Raised]:
        rules, pairs = self._compiled, self._pairs
        assert rules is not None
        e, p, b, m = seen.events, seen.placed, seen.bars, seen.matured
        columns = (e.kind, e.venue, e.ts_event, e.up, p.door, seen.interrupted.breaks)
        values = row_values(rules.columns, self.vocabulary.features, seen.features, seen.batch, seen.scores)
        rows = (seen.batch.symbol, seen.batch.now, (p.opened, p.closes, p.until), values)
        bars = (b.event, b.row, b.kind, b.stamps, np.column_stack([b.numbers, b.stamps[:, 2]]))
        outcomes = (m.event, m.row, m.stamps[:, 0].copy(), outcome_values(m, seen.scores.line_ups))
        at = (
            int(np.searchsorted(seen.folded, first)), int(np.searchsorted(b.event, first)),
            int(np.searchsorted(m.event, first)),
        )  # fmt: skip
        room, touched = len(pairs.rule) + ROOM, np.zeros(len(pairs.rule), np.int8)
        raised: list[Raised] = []
        while first < stop:
            out = _out(room)
            first, *where, n = judge(
                first, stop, at, columns, rows, bars, outcomes, (rules.rules, rules.conditions), pairs.for_kernel,
                touched, out,
            )  # fmt: skip
            at = (where[0], where[1], where[2])
            for event, pair, fired, condition, value, now in zip(*(each[:n].tolist() for each in out), strict=True):
                standing = self.standing[pairs.rule[pair]]
                raised.append(Raised(event, int(pairs.symbol[pair]), standing, bool(fired), condition, value, now))
        return raised

    def restore(self, standing: Sequence[Standing], arrays: Sequence[bytes], symbols: SymbolTable) -> None:
        """Go on where these were remembered."""
        if not standing:
            return
        self.stand(standing, symbols)
        for array, raw in zip(self.arrays, arrays, strict=True):
            array[...] = np.frombuffer(raw, array.dtype).reshape(array.shape)


def turned(
    standing: tuple[Standing, ...], asked: RuleAsked, vocabulary: Vocabulary
) -> tuple[RuleChanged, tuple[Standing, ...]]:
    """What came of a change, and the rules behind it; one that was changed is the last of them, and new."""
    change = asked.change
    if isinstance(change, str):
        return RuleChanged(asked.event, asked.id, "", "", "", change, None, 0), standing
    before = next((each for each in standing if each.rule.id == change.id), None)
    refused = _refused(change, before, standing, vocabulary)
    if refused:
        rule, rev = change.rule, 0
    else:
        rule, rev = (None, 0) if change.rule is None else (change.rule, 1 if before is None else before.rev + 1)
        standing = tuple(each for each in standing if each is not before)
        standing = standing if rule is None else (*standing, Standing(rule, rev))
    return RuleChanged(asked.event, change.id, change.action, change.by, change.why, refused, rule, rev), standing


def _refused(change: RuleChange, before: Standing | None, standing: Sequence[Standing], vocabulary: Vocabulary) -> str:
    """Why a change cannot be; empty where it can."""
    if change.action == "add" and before is not None:
        return f"{change.id} stands already; change it, or choose another id"
    if change.action == "add" and len(standing) >= MOST_RULES:
        return f"{MOST_RULES} rules stand already; remove one"
    if change.action != "add" and before is None:
        return f"no rule {change.id} stands"
    if change.action == "remove":
        return "" if change.rule is None else "rule: expected none where one is removed"
    if change.rule is None or change.rule.id != change.id:
        found = "none" if change.rule is None else change.rule.id
        return f"rule: expected the rule {change.id}, found {found}"
    try:
        vocabulary.check(change.rule)
    except RuleError as error:
        return str(error)
    together = numbers_of(change.rule) + sum(numbers_of(each.rule) for each in standing if each is not before)
    if together > MOST_NUMBERS:
        return (
            f"with {change.id} the rules would remember {together / 1e6:.1f} million numbers, expected at most "
            f"{MOST_NUMBERS / 1e6:g}: name symbols, or remove rules with windows or many outcomes"
        )
    return ""


def _extent(symbols: SymbolTable) -> tuple[int, int, int]:
    return len(symbols.names), len(symbols.venues), symbols.venue_of.count(-1)


def _out(room: int) -> tuple[Integers, Integers, Codes, Integers, NDArray[np.float64], Integers]:
    """Event, pair, whether it fired, condition, value, time."""
    return (
        np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int8), np.empty(room, np.int64),
        np.empty(room), np.empty(room, np.int64),
    )  # fmt: skip
