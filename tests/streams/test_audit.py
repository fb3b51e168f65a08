"""What the auditor expects is what the row maker makes, for any log and any cuts; and it counts what is not there."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.shard import Shard
from streams.audit import TABLES_OF, Checkpoint, Difference, Notes, Stretch, compared, skipped, stretches
from streams.decode import Poll, decode
from streams.rows import RowMaker
from tests.fakes import ConstantModel, CountingLearner
from tests.logs import market
from tests.streams.test_parity import KINDS

RECORDS = 3_000


def polls(cuts: list[int]) -> list[Poll]:
    """A log with everything that goes wrong, records that are no events among it, cut in polls."""
    from schemas.topics import EVENTS  # noqa: PLC0415

    raw: list[bytes | None] = [EVENTS.encode(event) for event in market(RECORDS, seed=3)]
    for at in range(0, RECORDS, 97):
        raw[at] = b"no event" if at % 2 else None
    bounds = sorted({0, RECORDS, *cuts})
    return [Poll(1, raw[a:b], list(range(a, b)), list(range(a, b))) for a, b in pairwise(bounds)]


def folded(cuts: list[int]) -> tuple[list[Checkpoint], Notes, dict[str, np.ndarray]]:
    """Counts after every poll, and the offsets of every table's rows."""
    shard, notes = Shard(1, CountingLearner(), ConstantModel()), Notes()
    maker = RowMaker("log", FEATURE_NAMES, FEATURES_ID, KINDS)
    told, rows = [Checkpoint(0, (0,) * 5)], {}
    for poll in polls(cuts):
        output = shard.advance(decode(poll))
        notes.note(output)
        told.append(notes.newest[1])
        for table, block in maker.blocks(output).items():
            rows.setdefault(table, []).append(np.asarray(block["src_offset"]))
    return told, notes, {table: np.concatenate(parts) for table, parts in rows.items()}


def held(rows: dict[str, np.ndarray], stretch: Stretch) -> dict[str, int]:
    """How many rows each group of tables has of a stretch."""
    return {
        group: sum(int(((rows[t] >= stretch.first) & (rows[t] < stretch.end)).sum()) for t in tables if t in rows)
        for group, tables in TABLES_OF.items()
    }


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, RECORDS - 1), max_size=30))
def test_every_stretch_has_the_rows_that_its_doors_say(cuts: list[int]) -> None:
    told, notes, rows = folded(cuts)
    found = [compared(stretch, held(rows, stretch)) for stretch in stretches(told)]
    assert all(difference == Difference() for each in found for difference in each.values())
    assert notes.began == {1: 0}
    assert skipped(0, notes.newest[1]) == 0


@pytest.mark.parametrize("table", ["features", "predictions", "trades", "quotes", "marks", "dead_letters"])
def test_one_row_too_few_and_one_too_many_are_counted_where_they_are(table: str) -> None:
    told, _, rows = folded(list(range(100, RECORDS, 100)))
    group = next(name for name, tables in TABLES_OF.items() if table in tables)
    for spoiled, expected in (
        (rows[table][1:], Difference(missing=1)),
        (np.append(rows[table], rows[table][0]), Difference(extra=1)),
    ):
        found = [compared(stretch, held(rows | {table: spoiled}, stretch)) for stretch in stretches(told)]
        wrong = [(i, name) for i, each in enumerate(found) for name, said in each.items() if said != Difference()]
        assert wrong == [(int(rows[table][0]) // 100, group)]
        assert found[wrong[0][0]][group] == expected


@pytest.mark.parametrize("lost", [1, 500, RECORDS - 2])
def test_a_record_that_was_not_read_leaves_the_offsets_ahead_of_the_doors(lost: int) -> None:
    shard, notes = Shard(1, CountingLearner(), ConstantModel()), Notes()
    for poll in polls([lost, lost + 1, RECORDS // 2]):
        if poll.offsets[0] != lost:
            notes.note(shard.advance(decode(poll)))
    assert skipped(notes.began[1], notes.newest[1]) == 1


def test_a_process_that_goes_on_from_a_snapshot_does_not_take_its_first_record_for_the_first_of_the_log() -> None:
    first, second = polls([1_000])
    shard, notes = Shard(1, CountingLearner(), ConstantModel()), Notes()
    shard.advance(decode(first))
    notes.note(shard.advance(decode(second)))
    assert notes.began == {}
    assert skipped(0, notes.newest[1]) == 0
