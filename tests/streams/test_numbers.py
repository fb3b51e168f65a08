"""Numbers of what is said: without a hole, whatever restarts between, and never the same for two messages."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors.numbers import PER_RECORD
from processors.shard import Shard
from schemas.topics import BARS, OUTCOMES, PREDICTIONS
from streams.refold import refold, through
from tests.fakes import ListLog, ListStore
from tests.logs import market, stretch
from tests.processors.test_shard import shard
from tests.streams.test_flow import Run, records


def identity(row: Any) -> tuple[Any, ...]:
    """What makes two messages the same message."""
    names = ("src_offset", "kind", "start", "rev", "predicted_offset", "horizon_ns")
    return tuple(getattr(row, name, None) for name in names)


def numbered(rows: Sequence[Any], of: Callable[[Any], tuple[Any, int]]) -> dict[Any, dict[int, Any]]:
    """By stream and number, the one message that has it."""
    found: dict[Any, dict[int, Any]] = defaultdict(dict)
    for row in rows:
        stream, seq = of(row)
        assert found[stream].setdefault(seq, identity(row)) == identity(row)
    return found


STREAMS: list[tuple[Any, Callable[[Any], tuple[Any, int]]]] = [
    (PREDICTIONS, lambda row: (row.symbol, row.seq)),
    (OUTCOMES, lambda row: (row.symbol, row.seq)),
    (BARS, lambda row: (row.symbol, row.seq)),
    (BARS, lambda row: ((row.symbol, row.kind), row.kind_seq)),
]


def test_numbers_have_no_hole_and_go_on_through_any_number_of_restarts(tmp_path: Path) -> None:
    whole = Run(ListLog({0: records(1500)})).go(tmp_path / "whole")
    log, store, sent = ListLog({0: records(1500)}), ListStore(), []

    def stop_after(polls: int) -> Callable[[], bool]:
        left = iter(range(polls))
        return lambda: next(left, None) is None

    for polls in (4, 7, 7, None):
        run = Run(log, store).go(tmp_path / "r", None if polls is None else stop_after(polls))
        sent += run.writer.sent
    whole_sent, whole.writer.sent = whole.writer.sent, sent
    again = {topic.name: whole.writer.of(topic) for topic, _ in STREAMS}
    whole.writer.sent = whole_sent
    for topic, of in STREAMS:
        once = numbered(whole.writer.of(topic), of)
        assert all(sorted(stream) == list(range(1, len(stream) + 1)) for stream in once.values())
        assert numbered(again[topic.name], of) == once
        assert len(again[topic.name]) >= sum(map(len, once.values())) > 20


def test_the_newest_row_names_the_number_of_its_prediction(tmp_path: Path) -> None:
    run = Run(ListLog({0: records(400)})).go(tmp_path / "r")
    newest = {row.symbol: row.seq for row in run.writer.of(PREDICTIONS)}
    assert {symbol: row.seq for symbol, row in run.latest.kept.items()} == newest


def refolded(first: int, end: int) -> dict[str, list[int]]:
    """Numbers of the predictions, by symbol, of a fold that begins at `first`."""
    found: dict[str, list[int]] = defaultdict(list)
    on: Shard = shard()

    def note(output: Any) -> None:
        for row, seq in zip(output.batch.symbol.tolist(), output.numbers.predictions.tolist(), strict=True):
            found[output.names[row]].append(seq)

    events = market(end)
    stretches = [stretch(events[at : at + 250], at) for at in range(first, end, 250)]
    refold(on, first, stretches, through(on, lambda output: output, [note]), lambda _: None)
    return found


@pytest.mark.parametrize("first", [250, 500, 1_750])
def test_a_fold_that_begins_later_begins_above_every_number_that_was_given_before(first: int) -> None:
    before, after = refolded(0, first), refolded(first, 2_000)
    for symbol, seqs in after.items():
        assert seqs == list(range(first * PER_RECORD + 1, first * PER_RECORD + 1 + len(seqs)))
        assert seqs[0] > max(before.get(symbol, [0]))


def test_numbers_do_not_depend_on_where_the_log_was_cut() -> None:
    events = market(1_000)
    one, other = shard(), shard()
    whole = one.number(one.advance(stretch(events, 0))).numbers
    parts = [other.number(other.advance(stretch(events[at : at + 90], at))).numbers for at in range(0, 1_000, 90)]
    assert whole is not None
    for name in whole.__slots__:
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert getattr(whole, name).tolist() == joined.tolist()
    assert one.snapshot() == other.snapshot()
