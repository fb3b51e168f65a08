"""Verification: fold the log afresh, and hold every row that was served against what the fold says.

One partition after the other, a chunk of offsets at a time: what is held in memory does not grow with the log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np

from processors.batch import NS, Integers
from processors.columns import LogStretch
from processors.rule_fields import needs_scores
from processors.scores import Model
from processors.shard import Shard, ShardOutput
from streams.archive import Archived
from streams.capture import FeedCheck
from streams.columns import Block, chosen, joined
from streams.comparison import Stored, compare, texts
from streams.decode import Poll, decode
from streams.messages import MessageMaker
from streams.model_runs import ModelRuns, Run, Scored
from streams.newest_check import NewestCheck, NewestRead
from streams.ports import Clock, PartitionReader
from streams.rows import RowMaker
from streams.verdict import Verdict

CHUNK: Final = 20_000
LOOK_AGAIN_S: Final = 2.0
QUIET_S: Final = 20.0
"""A partition that gives nothing for so long has nothing more."""
ON_EMPTY_S: Final = 0.002
OF_MODELS: Final = ("onnx", "p_up", "score")
"""Columns that another provider may compute a little apart."""
APART: Final = (
    "rules of scores: the model's provider may score a little apart, and so fire a record sooner, later or not"
)
Progress = Callable[[int], None]
"""Told how many more records were folded."""


class Served(Protocol):
    """What was stored of one log."""

    def rows(self, table: str, partition: int, first: int, end: int) -> Mapping[str, Stored]:
        """All columns of the raw rows of the offsets `[first, end)`; no columns where there is none."""

    def final_rows(self, table: str, partition: int, first: int, end: int) -> int:
        """How many there are after the table has thrown out what is there twice."""

    def runs(self, partition: int) -> Sequence[Run]:
        """Which models wrote the partition's predictions, in order of offsets."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One partition: folded from `first` on, the log's first record; judged between `begin` and `end`."""

    partition: int
    first: int
    kept: int
    """From here on the topic has the log; what is before it comes from the rows that were made of it."""
    begin: int
    end: int
    position: int
    """Everything below is stored, and the newest rows are written."""


@dataclass(frozen=True)
class Parts:
    """What a verification is made of."""

    read: Callable[[int, int], PartitionReader]
    """Opens a partition at an offset."""
    archive: Callable[[int, int, int], Iterator[Archived]]
    """What the rows say of the log: partition, first offset, and the offset behind the last."""
    make: Callable[[int], Shard]
    revise: Callable[[ShardOutput], ShardOutput]
    load: Callable[[str], Model | None]
    """A model by its id, None where it is gone."""
    served: Served
    newest: NewestRead | None
    rows: RowMaker
    messages: MessageMaker
    tables: Sequence[str]
    clock: Clock
    tolerance: float = 0.0
    """How far apart the scores of one ONNX model may be on another provider."""
    chunk: int = CHUNK
    """Offsets that are compared at a time."""
    sure_after_ns: int = 0
    """Until then a row that is missing is looked for again: it may be on its way."""


@dataclass
class _Chunk:
    first: int
    end: int
    records: int = 0
    blocks: dict[str, list[Block]] = field(default_factory=dict)
    scored: Scored | None = None
    """What scored all of it: the words of one maker are those of all blocks."""

    def add(self, blocks: Mapping[str, Block], end: int, records: int) -> None:
        """Take the rows of the next stretch."""
        for table, block in blocks.items():
            self.blocks.setdefault(table, []).append(block)
        self.end, self.records = end, self.records + records


class Verification:
    """Partition after partition into one verdict."""

    def __init__(
        self, parts: Parts, verdict: Verdict, feed: FeedCheck | None = None, on_progress: Progress = lambda _: None
    ) -> None:
        self.parts, self.verdict, self._feed, self._told = parts, verdict, feed, on_progress
        self._features = frozenset(parts.rows.feature_names)
        self._of_scores: set[str] = set()
        self._tolerance: Mapping[str, float] = dict.fromkeys(OF_MODELS, parts.tolerance) if parts.tolerance else {}

    def check(self, plan: Plan) -> None:
        """Fold one partition and compare. `LogError` where the log cannot be read."""
        parts, partition = self.parts, plan.partition
        runs = ModelRuns(parts.served.runs(partition), parts.load, parts.rows.features_id)
        newest = self._newest(plan)
        read_to = max(plan.end, newest.end if newest else 0)
        edges = sorted({plan.begin, plan.end, *runs.cuts, *(newest.cuts if newest else ())})
        self.verdict.ranges[partition] = (plan.begin, max(plan.begin, plan.end))
        self._fold(plan, runs, newest, cut(self._stretches(plan, read_to), edges))
        if newest:
            newest.finish()

    def _newest(self, plan: Plan) -> NewestCheck | None:
        read = self.parts.newest
        if read is None:
            return None
        return NewestCheck(read, self.verdict.log_id, plan.partition, plan.position, self.verdict)

    def _fold(self, plan: Plan, runs: ModelRuns, newest: NewestCheck | None, pieces: Iterable[LogStretch]) -> None:
        shard = self.parts.make(plan.partition)
        shard.scoring.load = runs.named
        chunk = _Chunk(plan.begin, plan.begin)
        for stretch in pieces:
            first, end, records = span_of(stretch)
            scored = runs.at(first)
            if shard.scoring.roster.served.onnx != scored.run.onnx_id:  # else the log itself has named it
                shard.scoring.onnx = scored.model
            output = self.parts.revise(shard.advance(stretch))
            self._of_scores |= {turn.id for turn in output.rule_changes if turn.rule and needs_scores(turn.rule)}
            if newest:
                newest.note(output, self.parts.messages, scored)
            if plan.begin <= first < plan.end:
                if chunk.records >= self.parts.chunk or (chunk.scored is not scored and chunk.records):
                    self._judge(plan.partition, chunk, runs)
                    chunk = _Chunk(chunk.end, chunk.end)
                chunk.scored = scored
                maker = replace(self.parts.rows, features_id=scored.run.features_id)
                chunk.add(maker.blocks(output), end, records)
            self._told(records)
        chunk.end = max(plan.end, chunk.end)
        self._judge(plan.partition, chunk, runs)

    def _judge(self, partition: int, chunk: _Chunk, runs: ModelRuns) -> None:
        if chunk.end <= chunk.first:
            return
        self.verdict.events += chunk.records
        for table in self.parts.tables:
            expected = joined(chunk.blocks[table]) if table in chunk.blocks else {}
            self._judge_table(table, partition, (chunk.first, chunk.end), expected, runs)
        if self._feed:
            self._feed.judge(partition, (chunk.first, chunk.end), joined(chunk.blocks.get("predictions", [{}])), runs)

    def _judge_table(self, table: str, partition: int, span: tuple[int, int], expected: Block, runs: ModelRuns) -> None:
        parts = self.parts
        unknown = runs.unknown(table, expected, parts.rows.feature_names)
        why = runs.why or (APART if parts.tolerance else "")
        left_out = 0
        while True:
            found = parts.served.rows(table, partition, *span)
            if table == "alerts" and why:
                there = len(found["src_offset"]) if found else 0
                expected, found = self._comparable(expected), self._comparable(found)
                left_out = there - (len(found["src_offset"]) if found else 0)
            compared = compare(table, expected, found, unknown=unknown, tolerance=self._tolerance)
            if not len(compared.lost) or parts.clock.now_ns() >= parts.sure_after_ns:
                break
            parts.clock.sleep(LOOK_AGAIN_S)
        if left_out:
            self.verdict.not_compared[table, "id", why] += left_out
        rows = len(expected["src_offset"]) if expected else 0
        self.verdict.rows[table] += rows
        self.verdict.take(table, partition, compared, self._features, runs.why)
        if len(compared.duplicate):
            stored = len(found["src_offset"])
            final = parts.served.final_rows(table, partition, *span)
            self.verdict.duplicate_final += max(0, final - (stored - len(compared.duplicate)))

    def _comparable(self, alerts: Mapping[str, Stored]) -> dict[str, Any]:
        """Without those of rules that look at scores: where a model is gone or scores apart, nobody knows what they said."""
        if not alerts:
            return {}
        kept = np.array([rule not in self._of_scores for rule in texts(alerts["rule"])], np.bool_)
        return chosen(alerts, kept)  # type: ignore[arg-type]

    def _stretches(self, plan: Plan, read_to: int) -> Iterator[LogStretch]:
        """Every record before `read_to`, from the rows where the topic has it no longer; offsets that nobody has are gaps."""
        parts, at = self.parts, plan.first
        if at < plan.kept:
            for archived in parts.archive(plan.partition, at, min(plan.kept, read_to)):
                for first, end in archived.missing:
                    self._gap(plan, first, end)
                if records(archived.stretch):
                    yield archived.stretch
            at = plan.kept
        if at < read_to:
            reader = parts.read(plan.partition, at)
            try:
                yield from map(decode, self._polls(plan, reader, at, read_to))
            finally:
                reader.close()

    def _polls(self, plan: Plan, reader: PartitionReader, at: int, read_to: int) -> Iterator[Poll]:
        clock, quiet = self.parts.clock, 0.0
        while at < read_to:
            poll = reader.poll(min(self.parts.chunk, read_to - at))
            if poll is None:
                if quiet >= QUIET_S:
                    self._gap(plan, at, read_to)
                    return
                clock.sleep(ON_EMPTY_S)
                quiet += ON_EMPTY_S
                continue
            quiet = 0.0
            offsets = np.asarray(poll.offsets, np.int64)
            before = np.concatenate([[at - 1], offsets[:-1]])
            for hole in np.flatnonzero(offsets - before != 1).tolist():
                self._gap(plan, int(before[hole]) + 1, int(offsets[hole]))
            at = int(offsets[-1]) + 1
            yield poll

    def _gap(self, plan: Plan, first: int, end: int) -> None:
        missing = min(end, plan.end) - max(first, plan.begin)
        if missing > 0:
            self.verdict.gaps += missing
            self.verdict.find(
                "gap", "market.events.v1", plan.partition, first, "offset", f"{missing} records", "none of them"
            )


def records(stretch: LogStretch) -> int:
    """How many records of the log it has."""
    return len(stretch.offsets) + len(stretch.rejected)


def span_of(stretch: LogStretch) -> tuple[int, int, int]:
    """First offset, offset behind the last, and number of records; of a stretch that has some."""
    offsets = [*stretch.offsets[:1].tolist(), *stretch.offsets[-1:].tolist()]
    offsets += [letter.offset for letter in (*stretch.rejected[:1], *stretch.rejected[-1:])]
    return min(offsets), max(offsets) + 1, records(stretch)


def cut(stretches: Iterable[LogStretch], edges: Sequence[int]) -> Iterator[LogStretch]:
    """The same records, with no edge inside a stretch."""
    for stretch in stretches:
        first, end, _ = span_of(stretch)
        inside = [edge for edge in edges if first < edge < end]
        if not inside:
            yield stretch
            continue
        refused = np.array([letter.offset for letter in stretch.rejected], np.int64)
        for start, stop in pairwise([first, *inside, end]):
            piece = _between(stretch, refused, start, stop)
            if records(piece):
                yield piece


def _between(stretch: LogStretch, refused: Integers, start: int, stop: int) -> LogStretch:
    events = slice(*np.searchsorted(stretch.offsets, [start, stop]).tolist())
    letters = slice(*np.searchsorted(refused, [start, stop]).tolist())
    return LogStretch(
        events=stretch.events[events], raw=stretch.raw[events], offsets=stretch.offsets[events],
        ts_broker=stretch.ts_broker[events], rejected=stretch.rejected[letters],
        rejected_broker=stretch.rejected_broker[letters], decoded=stretch.decoded and stretch.decoded.chosen(events),
    )  # fmt: skip


def sure_after(clock: Clock, settle_s: float) -> int:
    """When a row that is missing is surely lost, whatever the store was doing."""
    return clock.now_ns() + round(2 * settle_s * NS)
