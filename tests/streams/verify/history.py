"""A history in memory: a log, the rows that it made, and faults that can be planted in them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.scores import NO_MODEL, Learner, Model
from processors.shard import FoldRules, Shard
from schemas.control import ModelChange, body_of
from schemas.errors import InputError
from schemas.events import Control
from schemas.rows import Latest
from schemas.rules import Condition, Rule, RuleChange, body_of_rule
from schemas.tables import tables
from schemas.topics import EVENTS
from streams.archive import Archived
from streams.capture import FeedCheck
from streams.comparison import Stored
from streams.decode import Poll, decode
from streams.messages import MessageMaker
from streams.model_runs import Run
from streams.newest_check import NewestRead
from streams.rows import RowMaker
from streams.verdict import Verdict
from streams.verify import Parts, Plan, Verification
from tests.fakes import ConstantModel, CountingLearner, ListLog, ListReader, SteppingClock
from tests.logs import START, market

LOG = "test-log"
TABLES = tuple(table.name for table in tables(FEATURE_NAMES))
RULES = replace(FoldRules(), learn_every=16)
KINDS = [kind.name for kind in RULES.bars]
COMMON = (LOG, FEATURE_NAMES, FEATURES_ID, KINDS)
ROWS = RowMaker(*COMMON)
MESSAGES = MessageMaker(*COMMON)
Row = dict[str, Any]


def named(model: str) -> Model | None:
    """A model that the log names."""
    return ConstantModel(0.4, model) if model == "m9" else None


def warmed(change: ModelChange) -> Learner:
    """What a warm start of the log brings."""
    return CountingLearner.restored(change.state)


def make(partition: int) -> Shard:
    return Shard(partition, CountingLearner(), None, rules=RULES, load=named, warm=warmed)


@dataclass
class FastLog(ListLog):
    """Its records come 50 ms apart, so that the ledger has a line sooner."""

    def open(self, partition: int, offset: int | None) -> ListReader:
        self.readers[partition] = FastReader(self, partition, offset or 0)
        return self.readers[partition]


class FastReader(ListReader):
    def poll(self, most: int) -> Poll | None:
        poll = super().poll(most)
        return poll and replace(poll, ts_broker=[START // 1_000_000 + 50 * offset for offset in poll.offsets])


def log_of(events: int = 1_300, *, seed: int = 1, per_poll: int = 97) -> ListLog:
    """One partition of everything that a log can carry, bytes that are no event among it."""
    records: list[bytes | None] = [EVENTS.encode(event) for event in market(events, seed=seed)]
    records[100:100] = [b"{", None]
    at = START + events * 20_000_000
    for place, action in ((400, "challenge"), (600, "warm"), (800, "retire")):
        swap = ModelChange(action=action, model="m9", state=b"0.75 40" if action == "warm" else b"")  # type: ignore[arg-type]
        told = Control(topic="models", id="m9", ts_event=at, ts_ingest=at, body=body_of(swap))
        records.insert(place, EVENTS.encode(told))
    rule = Rule(id="r", conditions=(Condition(field="mid", op="changes_by", threshold=0.02, window_s=2.0),))
    scored = Rule(id="s", conditions=(Condition(field="score.p_up", op=">", threshold=0.55),))
    for place, added in ((420, rule), (425, scored), (700, rule)):  # the last one is refused
        change = RuleChange(action="add", id=added.id, rule=added, by="a test")
        told = Control(topic="rules", id=added.id, ts_event=at, ts_ingest=at, body=body_of_rule(change))
        records.insert(place, EVENTS.encode(told))
    return FastLog({0: records}, per_poll=per_poll, log_id=LOG)


@dataclass
class MemoryServed:
    """`streams.verify.Served` over lists of rows."""

    tables: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    def rows(self, table: str, partition: int, first: int, end: int) -> Mapping[str, Stored]:
        self.asked.append((table, first, end))
        rows = self._between(table, partition, first, end)
        return {name: _column([row[name] for row in rows]) for name in rows[0]} if rows else {}

    def final_rows(self, table: str, partition: int, first: int, end: int) -> int:
        rows = self._between(table, partition, first, end)
        keys = next(each.order_by for each in tables(FEATURE_NAMES) if each.name == table)
        return len({tuple(row[key] for key in keys) for row in rows})

    def runs(self, partition: int) -> Sequence[Run]:
        found: list[Run] = []
        for row in sorted(self.tables["predictions"], key=lambda row: int(row["src_offset"])):
            run = Run(row["src_offset"], row["onnx_id"], row["features_id"])
            if not found or (found[-1].onnx_id, found[-1].features_id) != (run.onnx_id, run.features_id):
                found.append(run)
        return found

    def _between(self, table: str, partition: int, first: int, end: int) -> list[Row]:
        return [
            row for row in self.tables[table] if row["src_partition"] == partition and first <= row["src_offset"] < end
        ]


def _column(values: list[Any]) -> Stored:
    if isinstance(values[0], str):
        words = sorted(set(values))
        return np.array([words.index(value) for value in values]), words
    return values if isinstance(values[0], bytes) else np.array(values)


@dataclass
class History:
    """What a flow served of a log: rows, newest rows, and the messages of the feed."""

    log: ListLog
    served: MemoryServed = field(default_factory=MemoryServed)
    latest: dict[str, Latest] = field(default_factory=dict)
    predictions: list[bytes] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)
    scored_by: Sequence[tuple[int, str]] = ((0, NO_MODEL),)
    """(offset from which on, model)."""
    clock: SteppingClock = field(default_factory=SteppingClock)
    kept_since_ms: int = 0

    @property
    def records(self) -> int:
        return len(self.log.records[0])

    def serve(self) -> "History":
        """Fold in polls of any size, as the live flow does."""
        return self.serve_until(self.records)

    def serve_until(self, end: int) -> "History":
        """The same, for the polls that begin before a record."""
        shard, reader = make(0), self.log.open(0, 0)
        while (poll := reader.poll(1_000)) is not None and poll.offsets[0] < end:
            for piece, onnx_id in self._by_model(poll):
                shard.scoring.onnx = self.models.get(onnx_id)
                output = shard.advance(decode(piece))
                self.latest |= {row.symbol: _as_read(row) for row in MESSAGES.latest(output)}
                self.predictions += [message for _, message in MESSAGES.predictions(output)]
                for table, block in ROWS.blocks(output).items():
                    self.served.tables[table] += _rows(block)
        return self

    def _by_model(self, poll: Poll) -> Iterator[tuple[Poll, str]]:
        starts = [first for first, _ in self.scored_by]
        for offset, value, ms in zip(poll.offsets, poll.values, poll.ts_broker, strict=True):
            onnx_id = self.scored_by[int(np.searchsorted(starts, offset, side="right")) - 1][1]
            if len(self.scored_by) == 1:
                yield poll, onnx_id
                return
            yield Poll(poll.partition, [value], [offset], [ms]), onnx_id

    def load(self, model: str) -> Model | None:
        """A model by its id: one that the flow was given, or one that the log names."""
        return self.models.get(model) or named(model)

    def parts(self, **changes: Any) -> Parts:
        parts = Parts(
            read=self.log.open, archive=_no_archive, make=make, revise=lambda output: output, load=self.load,
            served=self.served, newest=NewestRead(self.latest, self.kept_since_ms), rows=ROWS, messages=MESSAGES,
            tables=TABLES, clock=self.clock,
        )  # fmt: skip
        return replace(parts, **changes)

    def verify(
        self, *, begin: int = 0, end: int | None = None, position: int | None = None, feed: Sequence[bytes] = (),
        **changes: Any,
    ) -> Verdict:  # fmt: skip
        """What a verification finds."""
        verdict = Verdict(LOG)
        check = FeedCheck(LOG, verdict) if feed else None
        if check:
            try:
                check.read(feed)
            except InputError:
                check.close()
                raise
        last = self.records if end is None else end
        try:
            plan = Plan(0, 0, 0, begin, last, last if position is None else position)
            Verification(self.parts(**changes), verdict, check).check(plan)
        finally:
            if check:
                check.close()
        return verdict


def _as_read(row: Latest) -> Latest:
    """As Redis gives it back: what is not finite is null."""
    return msgspec.json.decode(msgspec.json.encode(row), type=Latest)


def _no_archive(partition: int, first: int, end: int) -> Iterator[Archived]:
    raise AssertionError(f"the topic has {first} to {end}")


def _rows(block: Mapping[str, Any]) -> list[Row]:
    columns = {}
    for name, column in block.items():
        if isinstance(column, tuple):
            columns[name] = [column[1][code] for code in column[0].tolist()]
        else:
            columns[name] = list(column)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def flipped(value: float, bit: int = 0) -> np.float64:
    """The same double with one bit changed."""
    bits = np.float64(value).view(np.uint64) ^ np.uint64(1 << bit)
    return np.float64(bits.view(np.float64))
