"""The nightly replay of one partition: pieces of a matrix that do not depend on how the log was read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from models.online import OnlineModel
from processors.batch import NS
from processors.columns import LogStretch
from processors.features import FEATURE_NAMES
from processors.labels import LabelRule
from processors.shard import FoldRules, Shard, ShardOutput
from processors.snapshot import decode_snapshot
from schemas.events import Control
from streams.matrix_files import encoded
from streams.nightly import MatrixRows, MatrixSpan, PieceFold, Reached, Unlearnt, Unscored
from tests.logs import market, stretch

RULES = FoldRules(label=LabelRule(horizon_ns=5 * NS), learn_every=32)
EVENTS = market(3_000)
SIZE = 700
ALL = MatrixSpan(partition=0, first=0, start=0, end=len(EVENTS))


class Killed(BaseException):
    """What a store raises in place of a signal."""


@dataclass
class ListPieces:
    """Pieces in memory; killed at the `dies_at`-th put, before or after the piece is kept."""

    pieces: dict[int, bytes] = field(default_factory=dict)
    rows: dict[int, MatrixRows] = field(default_factory=dict)
    state: Reached | None = None
    dies_at: int = 0
    torn: bool = False
    puts: int = 0

    def reached(self) -> Reached | None:
        return self.state

    def put(self, number: int, rows: MatrixRows, after: Reached) -> None:
        self.puts += 1
        if self.puts == self.dies_at and not self.torn:
            raise Killed
        self.rows[number], self.pieces[number] = rows, encoded(rows, FEATURE_NAMES, RULES.label.horizon_ns)
        if self.puts == self.dies_at:
            raise Killed
        self.state = after


@dataclass
class Reader:
    """The log in blocks; counts what was read."""

    block: int
    read: int = 0

    def __call__(self, partition: int, at: int, end: int) -> Iterator[LogStretch]:
        for start in range(at, end, self.block):
            stop = min(start + self.block, end)
            self.read += stop - start
            yield stretch(EVENTS[start:stop], start)


def unlearnt(partition: int, snapshot: bytes | None = None) -> Shard:
    shard = Shard(partition, Unlearnt(), None, rules=RULES)
    if snapshot:
        shard.restore(snapshot)
    return shard


def learning(partition: int, snapshot: bytes | None = None) -> Shard:
    model = OnlineModel(FEATURE_NAMES)
    if snapshot:
        model = OnlineModel.restore(decode_snapshot(snapshot).learner, FEATURE_NAMES)
    shard = Shard(partition, Unscored(model), None, rules=RULES)
    if snapshot:
        shard.restore(snapshot)
    return shard


def folded(span: MatrixSpan = ALL, block: int = 500, symbols: Sequence[str] = ()) -> ListPieces:
    store = ListPieces()
    PieceFold(unlearnt, Reader(block), symbols, SIZE).fold(span, store)
    return store


def once(events: int = len(EVENTS)) -> ShardOutput:
    """The whole log in one stretch through a shard that scores: the oracle."""
    return Shard(0, OnlineModel(FEATURE_NAMES), None, rules=RULES).advance(stretch(EVENTS[:events]))


def known(output: ShardOutput) -> np.ndarray:  # type: ignore[type-arg]
    """Which of its labels are not void; there are some of both."""
    found = ~np.isnan(output.matured.label)
    assert 0 < found.sum() < len(found)
    return np.asarray(found)


def column(store: ListPieces, name: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate([getattr(store.rows[number], name) for number in sorted(store.rows)])


@pytest.mark.parametrize("block", [11, 97, SIZE, 3_000])
def test_the_pieces_have_the_same_bytes_whatever_blocks_the_log_is_read_in(block: int) -> None:
    assert folded(block=block).pieces == folded(block=500).pieces


def test_the_rows_are_what_matured_in_one_fold_of_the_whole_log() -> None:
    store, output = folded(), once()
    matured, kept = output.matured, known(output)
    assert kept.sum() > 100
    np.testing.assert_array_equal(column(store, "offset"), matured.stamps[kept, 1])
    np.testing.assert_array_equal(column(store, "ts"), matured.stamps[kept, 0])
    for name in ("price", "label", "features"):
        np.testing.assert_array_equal(column(store, name), getattr(matured, name)[kept])
    assert column(store, "symbol").tolist() == [output.names[row] for row in matured.row[kept]]


def test_a_piece_has_what_matured_at_its_own_offsets() -> None:
    store, output = folded(), once()
    at = output.stretch.offsets[output.matured.event[known(output)]] // SIZE
    assert {number: len(rows) for number, rows in store.rows.items()} == {
        number: int((at == number).sum()) for number in range(5)
    }


def test_predictions_made_before_the_start_are_folded_and_are_no_rows() -> None:
    store, output = folded(MatrixSpan(partition=0, first=0, start=1_000, end=2_500)), once(2_500)
    matured = output.matured
    kept = (matured.stamps[:, 1] >= 1_000) & known(output)
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(column(store, "offset"), matured.stamps[kept, 1])
    np.testing.assert_array_equal(column(store, "features"), matured.features[kept])


def test_only_the_symbols_asked_for_have_rows_and_they_are_the_same_rows() -> None:
    everything, some = folded(), folded(symbols=["S1", "S3"])
    wanted = np.isin(column(everything, "symbol").astype(str), ["S1", "S3"])
    assert 0 < wanted.sum() < len(wanted)
    for name in ("offset", "features", "label"):
        np.testing.assert_array_equal(column(some, name), column(everything, name)[wanted])


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("dies_at", [1, 2, 4, 5])
def test_a_replay_that_was_killed_goes_on_behind_its_last_piece_to_the_same_bytes(dies_at: int, torn: bool) -> None:
    store, reader = ListPieces(dies_at=dies_at, torn=torn), Reader(300)
    with pytest.raises(Killed):
        PieceFold(learning, Reader(300), (), SIZE).fold(ALL, store)
    told: list[int] = []
    reached = PieceFold(learning, reader, (), SIZE).fold(ALL, store, told.append)
    assert store.pieces == folded().pieces
    assert reader.read == len(EVENTS) - SIZE * (dies_at - 1)
    assert told[0] == SIZE * (dies_at - 1)
    assert reached.records == sum(told) == len(EVENTS)


def test_a_finished_partition_is_not_read_again() -> None:
    store, reader = folded(), Reader(500)
    assert PieceFold(unlearnt, reader, (), SIZE).fold(ALL, store) == store.state
    assert reader.read == 0


def test_the_learner_of_a_killed_replay_is_bit_for_bit_the_one_that_scored_live() -> None:
    live = Shard(0, OnlineModel(FEATURE_NAMES), None, rules=RULES)
    for start in range(0, len(EVENTS), 13):
        live.advance(stretch(EVENTS[start : start + 13], start))
    store = ListPieces(dies_at=3)
    with pytest.raises(Killed):
        PieceFold(learning, Reader(500), (), SIZE).fold(ALL, store)
    reached = PieceFold(learning, Reader(1_100), (), SIZE).fold(ALL, store)
    assert live.learner.steps > 2
    assert decode_snapshot(reached.snapshot).learner == live.learner.snapshot()


def test_the_state_tells_where_every_record_went_and_the_newest_time_on_the_log() -> None:
    reached, output = folded().state, once()
    assert reached is not None
    assert list(reached.counts) == list(output.counts)
    assert sum(reached.counts) == len(EVENTS)
    assert reached.newest_ns == output.events.ts_event.max()


def test_a_control_event_has_our_clock_and_is_not_the_newest_time_on_the_log() -> None:
    newest = int(once().events.ts_event.max())
    ours = newest + 9 * 365 * 24 * 3600 * NS
    asked = Control(topic="rules", id="r1", ts_event=ours, ts_ingest=ours, body="{}")
    output = Shard(0, Unlearnt(), None, rules=RULES).advance(stretch([*EVENTS, asked]))
    assert output.events.ts_event.max() == ours

    def read(partition: int, at: int, end: int) -> Iterator[LogStretch]:
        yield stretch([*EVENTS, asked][at:end], at)

    span = MatrixSpan(partition=0, first=0, start=0, end=len(EVENTS) + 1)
    assert PieceFold(unlearnt, read, (), SIZE).fold(span, ListPieces()).newest_ns == newest


def test_a_label_that_is_void_is_no_row() -> None:
    class Voiding(Shard):
        def advance(self, given: LogStretch) -> ShardOutput:
            output = super().advance(given)
            label = np.where(output.matured.stamps[:, 1] % 2 == 0, np.nan, output.matured.label)
            return replace(output, matured=replace(output.matured, label=label))

    store = ListPieces()
    PieceFold(lambda p, _=None: Voiding(p, Unlearnt(), None, rules=RULES), Reader(500), (), SIZE).fold(ALL, store)  # type: ignore[misc]
    output = once()
    offsets = output.matured.stamps[known(output), 1]
    np.testing.assert_array_equal(column(store, "offset"), offsets[offsets % 2 == 1])
