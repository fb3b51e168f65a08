"""A stretch of the log again, at a pace of its own: a `Log` for the flow that ends where it is told and keeps the log's gaps.

Time is the broker's, as the fold takes it: it never falls, and a stamp that cannot be believed is the one before. So the gaps
between polls are those that the live flow saw, whatever the event times are (a recording of years ago among live ticks does not
make anyone wait for years). The records themselves are given with the stamps that they have.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from bytewax.outputs import StatefulSinkPartition

from processors.ledger import DOORS
from processors.shard import ShardOutput
from schemas.errors import LogError
from streams.blocks import BlockBuffer
from streams.bytewax_io import PartitionedSink
from streams.decode import MAX_MS, Poll
from streams.ports import Clock, Log, Meter, PartitionReader, TableStore
from streams.rows import RowMaker

NS_PER_MS: Final = 1_000_000
SILENCE_S: Final = 20.0
"""How long a record that must be there may stay away."""


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets `first` to `end` - 1 of one partition."""

    partition: int
    first: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.first)


@dataclass
class Pace:
    """When a record is due: `speed` times as fast as the broker got it; at once for an infinite speed.

    Nothing is due before every partition has shown its first records: the earliest time among them is where time begins.
    """

    clock: Clock
    speed: float = math.inf
    waiting: set[int] = field(default_factory=set)
    _first_ms: int | None = None
    _began_ns: int = 0

    def show(self, partition: int, first_ms: int | None) -> None:
        """The first of the broker's times that a partition has just given; None where it gave none that can be believed."""
        if partition in self.waiting or self._first_ms is None:
            self.waiting.discard(partition)
            self._began_ns = self.clock.now_ns()
            self._first_ms = min((ms for ms in (first_ms, self._first_ms) if ms is not None), default=None)

    def due(self, times_ms: Sequence[int]) -> int:
        """How many records of these times, ascending, are due now."""
        if math.isinf(self.speed):
            return len(times_ms)
        if self.waiting:
            return 0
        passed_ms = (self.clock.now_ns() - self._began_ns) * self.speed / NS_PER_MS
        return bisect_right(times_ms, (self._first_ms or 0) + passed_ms)


@dataclass
class SpanReader:
    """`streams.ports.PartitionReader` of one span of another reader."""

    reader: PartitionReader
    span: Span
    pace: Pace
    clock: Clock
    next_offset: int = 0
    _held: Poll | None = None
    _times_ms: Sequence[int] = ()
    """Of what is held."""
    _newest_ms: int = 0
    _silent_since_ns: int | None = None

    def ended(self) -> bool:
        return self.next_offset >= self.span.end

    def poll(self, most: int) -> Poll | None:
        if self.ended():
            return None
        if self._held is None:
            self._held = self._read(most)
        if self._held is None:
            return None
        due = self.pace.due(self._times_ms)
        if due == 0:
            return None
        self._times_ms = self._times_ms[due:]
        given, self._held = _split(self._held, due)
        self.next_offset = given.offsets[-1] + 1 if self._held is None else self._held.offsets[0]
        return given

    def _read(self, most: int) -> Poll | None:
        poll = self.reader.poll(most)
        if poll is None:
            self._complain_of_silence()
            return None
        self._silent_since_ns = None
        inside = sum(offset < self.span.end for offset in poll.offsets)
        if inside < len(poll.offsets):
            poll = _split(poll, inside)[0]
        self._times_ms = rising(poll.ts_broker, self._newest_ms)
        self._newest_ms = max(self._times_ms, default=self._newest_ms)
        self.pace.show(self.span.partition, next(filter(None, self._times_ms), None))
        if not poll.offsets:
            self.next_offset = self.span.end
            return None
        return poll

    def _complain_of_silence(self) -> None:
        now = self.clock.now_ns()
        self._silent_since_ns = now if self._silent_since_ns is None else self._silent_since_ns
        if now - self._silent_since_ns > SILENCE_S * 1e9:
            raise LogError(
                f"partition {self.span.partition}: expected records up to offset {self.span.end - 1}, found none after "
                f"{self.next_offset - 1} for {SILENCE_S:g} s; does the broker still hold them? `tickwire topics` tells"
            )

    def lag(self) -> int:
        return max(0, self.span.end - self.next_offset)

    def close(self) -> None:
        self.reader.close()


def rising(ts_broker: Sequence[int], newest_ms: int) -> list[int]:
    """The broker's times in milliseconds as `Shard` takes them, behind `newest_ms`; 0 before the first that can be believed."""
    return list(accumulate((ms if 0 <= ms <= MAX_MS else 0 for ms in ts_broker), max, initial=newest_ms))[1:]


def _split(poll: Poll, at: int) -> tuple[Poll, Poll | None]:
    """The first `at` records, and the rest where there is one."""
    if at >= len(poll.offsets):
        return poll, None
    parts = [
        Poll(poll.partition, poll.values[part], poll.offsets[part], poll.ts_broker[part])
        for part in (slice(0, at), slice(at, None))
    ]
    return parts[0], parts[1]


@dataclass
class SpanLog:
    """`streams.ports.Log` over spans of another one, paced."""

    log: Log
    spans: Sequence[Span]
    clock: Clock
    speed: float = math.inf
    readers: dict[int, SpanReader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._spans = {span.partition: span for span in self.spans if len(span)}
        self._pace = Pace(self.clock, self.speed, set(self._spans))

    @property
    def log_id(self) -> str:
        return self.log.log_id

    @property
    def partitions(self) -> Sequence[int]:
        return sorted(self._spans)

    def open(self, partition: int, offset: int | None) -> SpanReader:
        span = self._spans[partition]
        first = span.first if offset is None else offset
        reader = SpanReader(self.log.open(partition, first), span, self._pace, self.clock, first)
        self.readers[partition] = reader
        return reader


class Told:
    """What a replay has folded so far, by partition."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.counts: dict[int, Sequence[int]] = {}
        self.event_ns = 0

    def note(self, output: ShardOutput) -> None:
        """Take in what one stretch made."""
        last = [*output.stretch.offsets[-1:].tolist(), *(letter.offset for letter in output.stretch.rejected[-1:])]
        self.offsets[output.partition] = max(last, default=-1) + 1
        self.counts[output.partition] = output.counts
        if len(output.folded):
            self.event_ns = max(self.event_ns, int(output.batch.now.max()))

    def doors(self) -> Mapping[str, int]:
        """Records by the door they left by, over all partitions."""
        return {door: sum(int(counts[i]) for counts in self.counts.values()) for i, door in enumerate(DOORS)}


class ReplayBuffer(BlockBuffer):
    """Blocks of a replay, which knows how far it has come, and stores all of it when its source has ended."""

    def __init__(self, store: TableStore, maker: RowMaker, tables: Sequence[str], meter: Meter) -> None:
        super().__init__(store, maker, tables, meter)
        self.told = Told()

    def add(self, output: ShardOutput) -> None:
        """Take the rows of one stretch."""
        super().add(output)
        self.told.note(output)

    def close(self) -> None:
        """Store the rest: a replay has no epoch that would be repeated."""
        self.flush()
        super().close()

    def abandon(self) -> None:
        """Store nothing more: what was stored is not whole, and will be thrown away."""
        super().close()


class _Nothing(StatefulSinkPartition[ShardOutput, None]):
    def write_batch(self, values: list[ShardOutput]) -> None: ...

    def snapshot(self) -> None: ...


class NoSink(PartitionedSink):
    """Where nobody listens."""

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Nothing:  # noqa: ARG002
        return _Nothing()
