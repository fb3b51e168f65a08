"""A rebuild while the topic's retention moves on: what the topic has no more by then is in ClickHouse."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.rebuild import Outlets, Rebuild, RebuildReport, Span, _behind
from infra.recovery import RecoveryStore
from infra.settings import Kafka
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.errors import LogError
from schemas.tables import tables
from schemas.topics import EVENTS
from streams.archive import ARCHIVE, Archived
from streams.blocks import BlockBuffer
from streams.decode import Poll
from streams.messages import MessageMaker
from streams.refold import Refolded
from streams.rows import RowMaker
from tests.fakes import ListStore, ListWriter, NoMeter
from tests.logs import START, market, stretch
from tests.streams.test_flow import KINDS, make

EVENTS_OF_THE_LOG = market(100)
TABLES = [table.name for table in tables(FEATURE_NAMES)]
VALUES = [EVENTS.encode(event) for event in EVENTS_OF_THE_LOG]


@dataclass
class Archive:
    """ClickHouse, with rows of the records below `holds`."""

    holds: int
    read_from: list[tuple[int, int]] = field(default_factory=list)

    def first(self, _partition: int) -> int | None:
        return 0 if self.holds else None

    def read(self, _partition: int, first: int, end: int) -> Iterator[Archived]:
        self.read_from.append((first, end))
        held = min(end, self.holds)
        there = stretch(EVENTS_OF_THE_LOG[first:held], first) if first < held else stretch([])
        yield Archived(there, [] if held >= end else [(max(first, held), end)])


@dataclass
class Topic:
    """The broker: it has what is from `lows[0]` on, and each time it is asked where it begins that moves on."""

    lows: list[int]
    end: int = 100
    opened: list[int] = field(default_factory=list)
    log_id: str = "test-log"
    partitions: Sequence[int] = (0,)

    def ends(self) -> dict[int, tuple[int, int]]:
        if len(self.lows) > 1:
            self.lows.pop(0)
        return {0: (self.lows[0], self.end)}

    def open(self, _partition: int, offset: int) -> "Topic":
        self.opened.append(offset)
        if offset < self.lows[0]:
            raise LogError("passed")
        self.at = offset
        return self

    def poll(self, most: int) -> Poll:
        offsets = list(range(self.at, min(self.at + most, self.end)))
        self.at = offsets[-1] + 1
        return Poll(0, [VALUES[offset] for offset in offsets], offsets, [START // 1_000_000] * len(offsets))

    def close(self) -> None: ...


def rebuild(archive: Archive, topic: Topic, *, accept_loss: bool = False) -> Rebuild:
    made: Any = Rebuild
    store = RecoveryStore(Path("unused"), "0", "log", "step", "f")
    found: Rebuild = made(topic, Kafka(), archive, store, None, None, accept_loss)
    return found


def offsets(found: Rebuild, topic: Topic, span: Span) -> Sequence[int]:
    return [offset for each in found._stretches(span, topic.ends, RebuildReport()) for offset in each.offsets.tolist()]


@pytest.mark.parametrize("lows", [[40], [40, 40, 55], [40, 40, 55, 70], [40, 60, 61, 61]])
def test_it_reads_clickhouse_until_the_topic_begins_where_it_is(lows: list[int]) -> None:
    archive, topic = Archive(holds=80), Topic(list(lows))
    assert offsets(rebuild(archive, topic), topic, Span(0, 0, lows[0], 100)) == list(range(100))
    assert topic.opened == [lows[-1]]


def test_the_topic_may_move_on_while_another_partition_is_folded() -> None:
    archive, topic = Archive(holds=100), Topic([10, 30])
    assert offsets(rebuild(archive, topic), topic, Span(0, 10, 10, 100)) == list(range(10, 100))
    assert archive.read_from == [(10, 30)]


def test_what_nobody_folded_before_it_passed_is_refused_and_not_jumped_over() -> None:
    archive, topic = Archive(holds=50), Topic([40, 40, 60])
    with pytest.raises(LogError, match=r"found none of 10 \(offsets 50-59\)"):
        offsets(rebuild(archive, topic), topic, Span(0, 0, 40, 100))
    topic = Topic([40, 40, 60])
    found = offsets(rebuild(archive, topic, accept_loss=True), topic, Span(0, 0, 40, 100))
    assert found == [*range(50), *range(60, 100)]


def test_after_a_loss_at_the_end_that_was_accepted_it_goes_on_where_the_topic_begins() -> None:
    assert _behind(Refolded(0, 0, 50, 50, b""), [(0, 20, 30), (1, 50, 90), (0, 50, 60)]).next_offset == 60
    assert _behind(Refolded(0, 0, 50, 50, b""), [(1, 50, 90)]).next_offset == 50


def test_rows_that_clickhouse_lost_are_stored_again_table_by_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = rebuilt(tmp_path / "whole", ListStore(), monkeypatch)
    left = {table: 40 + 3 * n for n, table in enumerate(TABLES)}
    again, report = rebuilt(
        tmp_path / "again", ListStore(stored={(table, 0): mark for table, mark in left.items()}), monkeypatch
    )
    assert report.partitions == {0: len(VALUES)}
    for table, mark in left.items():
        expected = [offset for offset in whole.column(table, "src_offset") if offset > mark]
        assert again.column(table, "src_offset") == expected, table
    assert sum(len(again.column(table, "src_offset")) for table in ARCHIVE) >= len(VALUES) - max(left.values())


def rebuilt(root: Path, store: ListStore, monkeypatch: pytest.MonkeyPatch) -> tuple[ListStore, RebuildReport]:
    """A rebuild from a topic that has everything, into a store that holds what it says."""
    topic, archive, words = Topic([0]), Archive(holds=0), ("test-log", FEATURE_NAMES, FEATURES_ID, KINDS)
    there = RecoveryStore(root, "0", "test-log", "step", FEATURES_ID)
    buffer = BlockBuffer(store, RowMaker(*words), TABLES, NoMeter())
    outlets = Outlets(buffer, ListWriter(), MessageMaker(*words), lambda _: None)
    monkeypatch.setattr("infra.said._last", lambda *_: None)  # nothing is left on the topics: what is stored counts
    made: Any = Rebuild
    report: RebuildReport = made(topic, Kafka(), archive, there, make, outlets).run(topic.ends, lambda *_: None)
    buffer.close()
    return store, report
