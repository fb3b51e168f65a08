"""The nightly replay of one partition: the log through the same fold, into pieces of a training matrix.

A piece holds what matured at the offsets `[number * size, (number + 1) * size)`, whatever polls or blocks the records came
in, so the same log gives the same pieces. With every piece goes the state behind it: a replay that was killed goes on there.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from processors.batch import Column, Integers, Matrix
from processors.columns import CONTROL, LogStretch
from processors.labels import Matured
from processors.scores import Learner
from processors.shard import Shard, ShardOutput
from streams.verify import cut, span_of

PIECE: Final = 1_000_000
"""Records of the log to a piece."""
BLOCK: Final = 16_384
"""Records folded at once: what is made of them then stays in the processor's cache (1.4 times as fast as 65,536)."""
Told = Callable[[int], None]
"""Told how many more records were folded."""


class MatrixSpan(Struct, frozen=True, kw_only=True):
    """A partition: folded over the offsets `[first, end)`; rows are kept of predictions made in `[start, end)`.

    A row needs an outcome: what matures only at `end` or later is in no row.
    """

    partition: int
    first: int
    start: int
    end: int

    @property
    def records(self) -> int:
        """How many are folded."""
        return max(0, self.end - self.first)


@dataclass(frozen=True, slots=True)
class MatrixRows:
    """n predictions with their outcome, in the order in which they matured.

    offset   int64 [n], of the prediction      symbol   object [n], str       ts   int64 [n], ns, of the prediction
    price    [n, 2]: at the prediction, at its horizon
    label    [n]: 1 up, 0 down, 0.5 unchanged  features [n, features], NaN missing
    """

    partition: int
    offset: Integers
    symbol: NDArray[np.object_]
    ts: Integers
    price: Matrix
    label: Column
    features: Matrix

    def __len__(self) -> int:
        return len(self.offset)


class Reached(Struct, frozen=True, kw_only=True):
    """How far a partition was folded, and the state there."""

    next_offset: int
    records: int
    """Folded since `first`, unreadable ones counted."""
    newest_ns: int
    """Newest event time of anything on the log, heartbeats too; -1 before the first."""
    counts: tuple[int, ...]
    """By `ledger.DOORS`."""
    snapshot: bytes


class PieceStore(Protocol):
    """Where the pieces of one partition go; whole or not at all, and the same piece twice is one piece."""

    def reached(self) -> Reached | None:
        """The state behind the last piece; None where there is none."""

    def put(self, number: int, rows: MatrixRows, after: Reached) -> None:
        """Keep a piece, then the state behind it. A piece may have no rows."""


class MakeShard(Protocol):
    """Makes the shard of a partition, continued from a snapshot where there is one."""

    def __call__(self, partition: int, snapshot: bytes | None = None) -> Shard: ...


@dataclass(slots=True)
class Unlearnt:
    """A learner that learns nothing: a matrix needs no scores. To it every row is a coin."""

    id: str = "none"
    steps: int = 0

    def score(self, features: Matrix) -> Column:
        """0.5 for every row."""
        return np.full(len(features), 0.5)

    def learn(self, features: Matrix, labels: Column) -> None:
        """Nothing."""

    def snapshot(self) -> bytes:
        """Nothing is learnt."""
        return b""


@dataclass(slots=True)
class Unscored:
    """Another learner that learns as ever and is not asked for scores: none of its steps depends on them."""

    learner: Learner

    @property
    def id(self) -> str:
        """The learner's."""
        return self.learner.id

    @property
    def steps(self) -> int:
        """The learner's."""
        return self.learner.steps

    def score(self, features: Matrix) -> Column:
        """0.5 for every row."""
        return np.full(len(features), 0.5)

    def learn(self, features: Matrix, labels: Column) -> None:
        """One step of the learner."""
        self.learner.learn(features, labels)

    def snapshot(self) -> bytes:
        """The learner's."""
        return self.learner.snapshot()


@dataclass(frozen=True)
class PieceFold:
    """What a replay is made of; `symbols`: whose rows are kept, those of all where it is empty."""

    make: MakeShard
    read: Callable[[int, int, int], Iterable[LogStretch]]
    """The records of a partition from one offset up to, and without, another one."""
    symbols: Collection[str] = ()
    size: int = PIECE

    def fold(self, span: MatrixSpan, store: PieceStore, tell: Told = lambda _: None) -> Reached:
        """Fold a partition to the span's end, from behind the last piece that the store has; the state at the end.

        tell: also told at once of what was folded before.
        """
        found = store.reached() or Reached(next_offset=span.first, records=0, newest_ns=-1, counts=(), snapshot=b"")
        tell(found.records)
        if found.next_offset >= span.end:
            return found
        shard = self.make(span.partition, found.snapshot or None)
        piece = _Piece(shard, span, frozenset(self.symbols), found)
        for number, stretch in self._numbered(span, found.next_offset):
            if number > piece.number(self.size):
                piece = self._close(piece, store, number * self.size)
            piece.fold(stretch)
            tell(span_of(stretch)[2])
        return self._close(piece, store, span.end).before

    def _numbered(self, span: MatrixSpan, at: int) -> Iterator[tuple[int, LogStretch]]:
        """Every stretch with the number of its piece; none reaches into two."""
        edges = range((at // self.size + 1) * self.size, span.end, self.size)
        for stretch in cut(self.read(span.partition, at, span.end), edges):
            yield span_of(stretch)[0] // self.size, stretch

    def _close(self, piece: "_Piece", store: PieceStore, next_offset: int) -> "_Piece":
        """Keep the piece and begin the next one at `next_offset`."""
        after = piece.after(next_offset)
        store.put(piece.number(self.size), piece.rows(), after)
        return _Piece(piece.shard, piece.span, piece.symbols, after)


@dataclass(slots=True)
class _Piece:
    """The piece at hand, and the state before it."""

    shard: Shard
    span: MatrixSpan
    symbols: frozenset[str]
    before: Reached
    kept: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    records: int = 0
    newest_ns: int = -1
    counts: tuple[int, ...] = ()

    def number(self, size: int) -> int:
        return self.before.next_offset // size

    def fold(self, stretch: LogStretch) -> None:
        output = self.shard.advance(stretch)
        self.records += span_of(stretch)[2]
        said = output.events.ts_event[output.events.kind != CONTROL]  # a control event has the clock of who sent it
        self.newest_ns = int(said.max(initial=self.newest_ns))
        self.counts = tuple(int(count) for count in output.counts)
        if len(output.matured):
            self.kept.append(self._kept(output))

    def _kept(self, output: ShardOutput) -> tuple[NDArray[Any], ...]:
        matured: Matured = output.matured
        symbol = np.array(output.names, object)[matured.row]
        kept = (matured.stamps[:, 1] >= self.span.start) & ~np.isnan(matured.label)
        if self.symbols:
            kept &= _among(output.names, self.symbols)[matured.row]
        columns = (matured.stamps[:, 1], symbol, matured.stamps[:, 0], matured.price, matured.label, matured.features)
        return tuple(column[kept] for column in columns)

    def rows(self) -> MatrixRows:
        if not self.kept:
            width = self.shard.scoring.features
            none = np.empty(0, np.int64)
            empty = (none, np.empty(0, object), none, np.empty((0, 2)), np.empty(0), np.empty((0, width)))
            return MatrixRows(self.span.partition, *empty)
        columns: Iterable[Any] = (np.concatenate(parts) for parts in zip(*self.kept, strict=True))
        return MatrixRows(self.span.partition, *columns)

    def after(self, next_offset: int) -> Reached:
        return Reached(
            next_offset=next_offset,
            records=self.before.records + self.records,
            newest_ns=max(self.before.newest_ns, self.newest_ns),
            counts=self.counts or self.before.counts,
            snapshot=self.shard.snapshot(),
        )


def _among(names: Sequence[str], symbols: frozenset[str]) -> NDArray[np.bool_]:
    return np.array([name in symbols for name in names], np.bool_)
