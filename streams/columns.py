"""Columns as ClickHouse is given them: arrays, lists of text, and words by number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Coded: TypeAlias = tuple[NDArray[Any], Sequence[str]]
Column: TypeAlias = NDArray[Any] | list[Any] | Coded
Block: TypeAlias = dict[str, Column]


@dataclass(slots=True)
class Words:
    """Numbers for strings that recur, shared by all blocks of a process."""

    known: dict[str, int] = field(default_factory=dict)
    all: list[str] = field(default_factory=list)
    _kept: dict[int, tuple[Sequence[str], NDArray[np.int64]]] = field(default_factory=dict)
    """By the list's id; the list is held, so that nothing else can have it."""

    def codes(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Number of each word; new ones are numbered."""
        for word in words:
            if word not in self.known:
                self.known[word] = len(self.all)
                self.all.append(word)
        return np.array([self.known[word] for word in words], np.int64)

    def codes_of(self, growing: Sequence[str]) -> NDArray[np.int64]:
        """The same, remembered for a list that is asked for again and again and only ever grows."""
        kept = self._kept.get(id(growing))
        if kept is None or len(kept[1]) != len(growing):
            kept = self._kept[id(growing)] = (growing, self.codes(growing))
        return kept[1]


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
