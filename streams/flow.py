"""The dataflow that scores: reads top to bottom, computes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import Sink

from processors.shard import Shard, ShardOutput
from streams.decode import Poll, decode
from streams.ports import Meter

Keyed: TypeAlias = tuple[str, ShardOutput]


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where everything that is said goes; a test passes lists."""

    topics: Sink[Keyed]
    latest: Sink[Keyed]
    tables: Sink[Keyed]


class Advance(StatefulBatchLogic[Poll, ShardOutput, bytes]):
    """One partition's shard, from polls to numbered outputs; it has to be told of its partition by the first poll."""

    def __init__(
        self, make: Callable[[int, bytes | None], Shard], revise: Callable[[ShardOutput], ShardOutput], meter: Meter,
        snapshot: bytes | None,
    ) -> None:  # fmt: skip
        self._make, self._revise, self._meter, self._resume = make, revise, meter, snapshot
        self._shard: Shard | None = None

    def on_batch(self, values: list[Poll]) -> tuple[list[ShardOutput], bool]:
        return [self._advance(poll) for poll in values], False

    def _advance(self, poll: Poll) -> ShardOutput:
        if self._shard is None:
            self._shard = self._make(poll.partition, self._resume)
        began = perf_counter()
        stretch = decode(poll)
        decoded = perf_counter()
        output = self._shard.advance(stretch)
        self._meter.observe("tickwire_score_stage_seconds", decoded - began, stage="decode")
        self._meter.observe("tickwire_score_stage_seconds", perf_counter() - decoded, stage="advance")
        return self._shard.number(self._revise(output))

    def snapshot(self) -> bytes:
        if self._shard is None:
            return self._resume or b""
        began = perf_counter()
        raw = self._shard.snapshot()
        self._meter.observe("tickwire_score_stage_seconds", perf_counter() - began, stage="snapshot")
        return raw


def as_it_is(output: ShardOutput) -> ShardOutput:
    """No bar is issued again."""
    return output


def build(
    events: Source[tuple[str, Poll]], make: Callable[[int, bytes | None], Shard], sinks: Sinks, step: str, meter: Meter,
    revise: Callable[[ShardOutput], ShardOutput] = as_it_is,
) -> Dataflow:  # fmt: skip
    """Wire the flow. Nothing here computes; nothing here knows a host name.

    `make` gives the shard of a partition, continued from a snapshot where there is one. `step` names everything that
    decides what is computed: another name starts with fresh state. `revise` adds bars that are issued again.
    """
    flow = Dataflow("scoring")
    polls = op.input("polls", flow, events)
    advanced = op.stateful_batch(f"advance_{step}", polls, lambda snapshot: Advance(make, revise, meter, snapshot))
    op.output("topics", advanced, sinks.topics)
    op.output("latest", advanced, sinks.latest)
    op.output("tables", advanced, sinks.tables)
    return flow
