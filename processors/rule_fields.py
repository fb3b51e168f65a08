"""What the conditions of a rule look at: fields by name, and rules as the numbers that the kernel reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

import numpy as np

from processors.batch import NS, EventBatch, Matrix
from processors.labels import Matured
from processors.scores import ONLINE, LineUp, Scores
from schemas.errors import RuleError
from schemas.rules import MOST_CONDITIONS, WINDOWED, Condition, Rule, flaws

OF_ROW, OF_BAR, OF_OUTCOME = range(3)
PRICES: Final = ("last", "mid", "bid", "ask", "bid_size", "ask_size", "trade_size", "sentiment")
BAR_FIELDS: Final = ("open", "high", "low", "close", "volume", "value", "n_trades")
OUTCOME_FIELDS: Final = ("hit_rate", "brier", "log_return")
P_UP: Final = "score.p_up"
VALUE, CHANGE, RELATIVE, Z_SCORE, MEAN = range(5)
"""What is made of a value before it is compared."""
PARTS: Final = 16
"""Of a window."""
PART: Final = 5
"""Numbers kept of one part: which it is, its newest value, count, mean, sum of squared deviations."""
WINDOW_MEMORY: Final = 2 + PARTS * PART
OF_PAIR: Final = 20
"""Numbers remembered of a rule and a symbol beside that."""
SYMBOLS: Final = 2_000
CONDITION: Final = np.dtype([
    ("of", "i8"), ("index", "i8"), ("kind", "i8"), ("made", "i8"), ("direction", "f8"), ("threshold", "f8"), ("band", "f8"),
    ("cross", "i8"), ("size", "i8"), ("memory", "i8"),
])  # fmt: skip
"""index: of the row's values, of a bar's numbers, of an outcome's. size: ns of a part of the window, or outcomes kept."""
RULE: Final = np.dtype([
    ("conditions", "i8"), ("any", "i8"), ("dwell", "i8"), ("cool_down", "i8"), ("regular", "i8"), ("expires", "i8"),
    ("venue", "i8"),
])  # fmt: skip


class Field(NamedTuple):
    """Where a value comes from; `kind`: number of a bar's kind, -1 for other fields."""

    of: int
    name: str
    kind: int = -1


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The fields that there are."""

    features: Sequence[str]
    bars: Sequence[str]

    def field(self, name: str) -> Field:
        """What a condition's field names; `RuleError` with what is allowed."""
        of, _, rest = name.partition(".")
        if name in self.features or name in PRICES or (of == "score" and rest):
            return Field(OF_ROW, name)
        if of == "outcome" and rest in OUTCOME_FIELDS:
            return Field(OF_OUTCOME, rest)
        kind, _, number = rest.rpartition(".")
        if of == "bar" and kind in self.bars and number in BAR_FIELDS:
            return Field(OF_BAR, number, self.bars.index(kind))
        raise RuleError(f"expected {self._allowed(of, name)}, was {name!r}")

    def _allowed(self, of: str, name: str) -> str:
        if of == "outcome":
            return " or ".join(f"outcome.{each}" for each in OUTCOME_FIELDS)
        if of == "bar":
            return f"bar.KIND.FIELD with KIND of {' '.join(self.bars)} and FIELD of {' '.join(BAR_FIELDS)}"
        near = get_close_matches(name, [*self.features, *PRICES], n=1)
        return (
            f"a feature, {' '.join(PRICES)}, bar.KIND.FIELD, score.p_up, score.MODEL or outcome.FIELD"
            + (f" (did you mean {near[0]}?)" if near else "")
        )  # fmt: skip

    def check(self, rule: Rule) -> None:
        """`RuleError` where the rule cannot be judged; it names every field that is wrong."""
        wrong = flaws(rule)
        for number, condition in enumerate(rule.conditions):
            try:
                self.field(condition.field)
            except RuleError as error:
                wrong.append(f"conditions[{number}].field: {error}")
        if wrong:
            raise RuleError(f"rule {rule.id}: " + "; ".join(wrong))


def numbers_of(rule: Rule) -> int:
    """How many numbers are remembered of a rule, at most: of each symbol that it names, else of `SYMBOLS`."""
    return (OF_PAIR + sum(map(_memory, rule.conditions))) * (len(rule.symbols) or SYMBOLS)


def needs_scores(rule: Rule) -> bool:
    """Whether it looks at what models say."""
    return any(each.field.startswith(("score.", "outcome.")) for each in rule.conditions)


@dataclass(frozen=True, slots=True)
class Compiled:
    """Rules as arrays: `rules` [R], `conditions` [R, MOST_CONDITIONS]; `columns` names the values of a row, in order."""

    rules: np.ndarray
    conditions: np.ndarray
    columns: Sequence[str]
    sizes: np.ndarray
    """[R]: numbers that a rule remembers of one symbol."""


def compiled(rules: Sequence[Rule], vocabulary: Vocabulary, venues: Sequence[str]) -> Compiled:
    """The rules, which must have passed `Vocabulary.check`. A venue that nothing was heard of is -2, none is -1."""
    told, lines = np.zeros(len(rules), RULE), np.zeros((len(rules), MOST_CONDITIONS), CONDITION)
    columns: dict[str, int] = {}
    sizes = np.zeros(len(rules), np.int64)
    for r, rule in enumerate(rules):
        venue = -1 if not rule.venue else venues.index(rule.venue) if rule.venue in venues else -2
        told[r] = (
            len(rule.conditions), rule.match == "any", _ns(rule.dwell_s), _ns(rule.cool_down_s), rule.session == "regular",
            rule.expires, venue,
        )  # fmt: skip
        for c, condition in enumerate(rule.conditions):
            lines[r, c] = _line(condition, vocabulary.field(condition.field), columns, int(sizes[r]))
            sizes[r] += _memory(condition)
    return Compiled(told, lines, list(columns), sizes)


def _line(condition: Condition, field: Field, columns: dict[str, int], memory: int) -> tuple[float, ...]:
    made = {"changes_by": RELATIVE if condition.relative else CHANGE, "z_score": Z_SCORE}.get(condition.op, VALUE)
    below = condition.op in ("<", "crosses_below") or (condition.op in WINDOWED and condition.threshold < 0)
    size = max(1, _ns(condition.window_s) // PARTS)
    if field.of == OF_ROW:
        index = columns.setdefault(field.name, len(columns))
    elif field.of == OF_BAR:
        index = BAR_FIELDS.index(field.name)
    else:
        index, made, size = OUTCOME_FIELDS.index(field.name), MEAN, condition.last
    crosses = condition.op.startswith("crosses")
    direction = -1.0 if below else 1.0
    return (
        field.of, index, field.kind, made, direction, condition.threshold, condition.hysteresis, crosses, size, memory
    )  # fmt: skip


def _memory(condition: Condition) -> int:
    if condition.last:
        return 2 + condition.last
    return WINDOW_MEMORY if condition.op in WINDOWED else 0


def _ns(seconds: float) -> int:
    return round(seconds * NS)


def row_values(
    columns: Sequence[str], names: Sequence[str], features: Matrix, batch: EventBatch, scores: Scores
) -> Matrix:
    """Values of the folded rows, float64 [columns, rows]. names: of the features, [features, rows]."""
    values = np.empty((len(columns), len(batch)))
    for line, name in zip(values, columns, strict=True):
        if name in names:
            line[:] = features[names.index(name)]
        elif name == P_UP:
            line[:] = scores.p_up
        elif name.startswith("score."):
            line[:] = _of_model(name.removeprefix("score."), scores)
        else:
            line[:] = batch.size if name == "trade_size" else getattr(batch, name)
    return values


def _of_model(model: str, scores: Scores) -> Matrix:
    """What a model said of each row, NaN where it did not score."""
    column = np.array([_column(model, each) for each in scores.line_ups], np.int64)
    if not len(column):
        return np.full(len(scores.p_up), np.nan)
    at = column[scores.line_up]
    return np.where(at >= 0, scores.by_model[np.arange(len(at)), np.maximum(at, 0)], np.nan)


def _column(model: str, line_up: LineUp) -> int:
    return line_up.models.index(model) if model in line_up.models else -1


def outcome_values(matured: Matured, line_ups: Sequence[LineUp]) -> Matrix:
    """Of outcomes, float64 [m, 3] as `OUTCOME_FIELDS`; NaN where nothing came true or clients had seen no score.

    An outcome within the dead band is no hit and no miss.
    """
    online = np.array([each.champion == ONLINE for each in line_ups], np.bool_)[matured.line_up]
    first, second = matured.scores[:, 0], matured.scores[:, 1]
    champion, other = np.where(online, first, second), np.where(online, second, first)
    p = np.where(np.isfinite(champion), champion, other)
    label = matured.label
    moved = (label == 0.0) | (label == 1.0)
    hit = np.where(p == 0.5, 0.5, (p > 0.5) == (label == 1.0))
    values = np.column_stack([hit, (p - label) ** 2, np.log(matured.price[:, 1] / matured.price[:, 0])])
    values[~(moved & np.isfinite(p)), :2] = np.nan
    return values
