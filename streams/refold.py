"""Folding what was folded before: the same state and rows again, and on the topics only what they do not have."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np

from processors.batch import Integers
from processors.columns import LogStretch
from processors.shard import Shard, ShardOutput
from schemas.rows import Latest
from schemas.topics import ALERTS, BARS, DEAD_LETTERS, OUTCOMES, PREDICTIONS, Topic
from streams.messages import Message, MessageMaker
from streams.ports import MessageWriter
from streams.rule_rows import raised_at

Door: TypeAlias = Callable[[ShardOutput], None]
SAID_ON: Final[Sequence[Topic[Any]]] = (PREDICTIONS, BARS, OUTCOMES, ALERTS, DEAD_LETTERS)


@dataclass(frozen=True, slots=True)
class Said:
    """How far a topic's partition got: the log record behind its last message, and how many messages that one has."""

    offset: int = -1
    count: int = 0


@dataclass(frozen=True, slots=True)
class Refolded:
    """A partition, folded anew: `snapshot` is its state before `next_offset`."""

    partition: int
    first: int
    next_offset: int
    records: int
    snapshot: bytes


def through(shard: Shard, revise: Callable[[ShardOutput], ShardOutput], doors: Sequence[Door]) -> Door:
    """One door: what `revise` makes of an output of `shard` is numbered and goes through the others in turn."""

    def door(output: ShardOutput) -> None:
        numbered = shard.number(revise(output))
        for each in doors:
            each(numbered)

    return door


def refold(
    shard: Shard, first: int, stretches: Iterable[LogStretch], door: Door, tell: Callable[[int], None]
) -> Refolded:
    """Fold the stretches; every output goes through the door. `tell`: records of each stretch, once it is done."""
    after, records = first, 0
    for stretch in stretches:
        offsets = [*stretch.offsets[-1:].tolist(), *(letter.offset for letter in stretch.rejected[-1:])]
        n = len(stretch.events) + len(stretch.rejected)
        door(shard.advance(stretch))
        after, records = max([after, *(offset + 1 for offset in offsets)]), records + n
        tell(n)
    return Refolded(shard.partition, first, after, records, shard.snapshot())


@dataclass(frozen=True, slots=True)
class Unsaid:
    """A door to the topics that lets pass only what comes after `said`, by topic name and partition."""

    writer: MessageWriter
    maker: MessageMaker
    said: Mapping[tuple[str, int], Said]

    def __call__(self, output: ShardOutput) -> None:
        """Send the messages that their topic does not have."""
        for topic, make, offsets in self._doors(output):
            new = _after(offsets, self.said.get((topic.name, output.partition), Said()))
            if len(new):
                messages = make(output)
                self.writer.send(topic, output.partition, [messages[i] for i in new.tolist()])

    def _doors(
        self, output: ShardOutput
    ) -> Sequence[tuple[Topic[Any], Callable[[ShardOutput], list[Message]], Integers]]:
        of = output.stretch.offsets
        refused = np.array([letter.offset for letter in output.stretch.rejected], np.int64)
        return (
            (PREDICTIONS, self.maker.predictions, of[output.folded]), (BARS, self.maker.bars, of[output.bars.event]),
            (OUTCOMES, self.maker.outcomes, of[output.outcomes.event]),
            (ALERTS, self.maker.alerts, of[raised_at(output)]), (DEAD_LETTERS, self.maker.dead_letters, refused),
        )  # fmt: skip


@dataclass(slots=True)
class NewestOnly:
    """A door that keeps the newest row of every symbol, for one write at the end."""

    maker: MessageMaker
    rows: dict[str, Latest] = field(default_factory=dict)

    def __call__(self, output: ShardOutput) -> None:
        """Take the last row of every symbol."""
        self.rows |= {row.symbol: row for row in self.maker.latest(output)}


def _after(offsets: Integers, said: Said) -> Integers:
    """Positions of the messages that were not said; those of one record are always made in the same order."""
    same = np.flatnonzero(offsets == said.offset)[said.count :]
    return np.concatenate([same, np.flatnonzero(offsets > said.offset)])
