"""The broker's times of one poll: what a producer stamped in other units changes no later row, and ends nothing."""

import pytest

from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.shard import FoldRules, Shard
from schemas.topics import EVENTS
from streams.decode import Poll, decode
from streams.rows import RowMaker
from tests.fakes import CountingLearner
from tests.logs import START, market

MS = START // 1_000_000
KINDS = [kind.name for kind in FoldRules().bars]


@pytest.mark.parametrize("absurd", [-1, MS * 1_000, MS * 1_000_000], ids=["none", "microseconds", "nanoseconds"])
@pytest.mark.parametrize("garbage", [False, True], ids=["an event", "no event"])
def test_a_stamp_that_cannot_be_is_that_of_the_record_before(absurd: int, garbage: bool) -> None:
    values = [EVENTS.encode(event) for event in market(200)]
    if garbage:
        values[100] = b"?"
    stamps = [MS + i for i in range(len(values))]
    stamps[100] = absurd
    stretch = decode(Poll(0, values, range(len(values)), stamps))
    output = Shard(0, CountingLearner(), None).advance(stretch)
    blocks = RowMaker("test-log", FEATURE_NAMES, FEATURES_ID, KINDS).blocks(output)
    told = dict(zip(output.stretch.offsets.tolist(), output.stretch.ts_broker.tolist(), strict=True))
    if garbage:
        letters = blocks["dead_letters"]
        at = letters["src_offset"].tolist().index(100)
        assert (letters["ts_broker"][at], letters["ts_ingest"][at]) == (MS + 99, 0)
    else:
        assert told[100] == MS + 99
    assert [told[offset] for offset in (99, 101, 199)] == [MS + 99, MS + 101, MS + 199]
