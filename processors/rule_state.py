"""What is remembered of every rule and every symbol that it watches, as arrays in the order of symbol and rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.batch import Integers
from processors.rule_fields import Compiled
from processors.rule_kernel import NOTHING
from schemas.rules import MOST_CONDITIONS, Rule

FRESH: Final = (-1, -1, -1, -1, 0, -1, -1, -1, 0)
"""`rule_kernel`: VENUE, NOW, SINCE, FIRED_AT, FIRED, OPENED, CLOSES, UNTIL, DOWN."""


@dataclass(slots=True)
class Pairs:
    """A line for every rule and symbol: P of them.

    symbol, rule   [P], sorted by both                    begin    [symbols + 1]: where a symbol's lines are
    pair           int64 [P, 9]                           on       int8 [P, MOST_CONDITIONS]
    value          [P, MOST_CONDITIONS], what was last compared    memory   of windows and outcomes; a pair's from `offset` on
    """

    symbol: Integers
    rule: Integers
    begin: Integers
    pair: NDArray[np.int64]
    on: NDArray[np.int8]
    value: NDArray[np.float64]
    offset: Integers
    memory: NDArray[np.float64]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered; the rest follows from the rules and the symbols."""
        return (self.pair, self.on, self.value, self.memory)

    @property
    def for_kernel(self) -> tuple[NDArray[Any], ...]:
        """As `rule_kernel.judge` takes it."""
        return (self.begin, self.rule, self.pair, self.on, self.value, self.offset, self.memory)

    def take(self, other: "Pairs", places: Sequence[int], compiled: Compiled) -> None:
        """What `other` remembered of the same pairs; places: number here of each of its rules, -1 where it is gone."""
        rule = np.array(places, np.int64)[other.rule] if len(other.rule) else other.rule
        old = np.flatnonzero(rule >= 0)
        new = np.searchsorted(_keys(self.symbol, self.rule), _keys(other.symbol[old], rule[old]))
        self.pair[new], self.on[new], self.value[new] = other.pair[old], other.on[old], other.value[old]
        sizes = compiled.sizes[self.rule[new]]
        step = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self.memory[np.repeat(self.offset[new], sizes) + step] = other.memory[
            np.repeat(other.offset[old], sizes) + step
        ]


def no_pairs() -> Pairs:
    """Of no rule."""
    return _made(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, np.zeros(0, np.int64))


def pairs_of(rules: Sequence[Rule], compiled: Compiled, names: Sequence[str], venue_of: Sequence[int]) -> Pairs:
    """Every rule with every symbol that it watches, nothing remembered. venue_of: number of each symbol's venue."""
    rows = {name: row for row, name in enumerate(names)}
    everywhere, venues = np.arange(len(names)), np.array(venue_of, np.int64)
    watched = []
    for r, rule in enumerate(rules):
        if rule.symbols:
            watched.append(np.array(sorted(rows[name] for name in rule.symbols if name in rows), np.int64))
        else:
            watched.append(everywhere if not rule.venue else np.flatnonzero(venues == compiled.rules["venue"][r]))
    symbol = np.concatenate([np.empty(0, np.int64), *watched])
    rule_of = np.repeat(np.arange(len(rules)), [len(each) for each in watched])
    order = np.lexsort((rule_of, symbol))
    return _made(symbol[order], rule_of[order], len(names), compiled.sizes)


def _made(symbol: Integers, rule: Integers, symbols: int, sizes: Integers) -> Pairs:
    n = len(symbol)
    taken = sizes[rule]
    return Pairs(
        symbol=symbol, rule=rule, begin=np.searchsorted(symbol, np.arange(symbols + 1)),
        pair=np.tile(np.array(FRESH, np.int64), (n, 1)), on=np.full((n, MOST_CONDITIONS), NOTHING, np.int8),
        value=np.full((n, MOST_CONDITIONS), np.nan), offset=np.cumsum(taken) - taken,
        memory=np.full(int(taken.sum()), np.nan),
    )  # fmt: skip


def _keys(symbol: Integers, rule: Integers) -> Integers:
    return symbol << 32 | rule
