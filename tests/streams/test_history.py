"""What is on the log as a matrix to train on, in order of time."""

import numpy as np
import pytest

from infra.nightly.training import rows_ahead
from models.online import OnlineModel
from processors.batch import NS
from processors.features import FEATURE_NAMES
from processors.labels import LabelRule
from processors.shard import FoldRules, Shard
from schemas.errors import LogError
from schemas.topics import EVENTS
from streams.decode import decode
from streams.history import fold_history
from tests.fakes import ListLog, SteppingClock
from tests.logs import market

RULES = FoldRules(label=LabelRule(horizon_ns=5 * NS))


def shard(partition: int) -> Shard:
    return Shard(partition, OnlineModel(FEATURE_NAMES), None, rules=RULES)


def test_every_row_has_the_time_of_its_prediction() -> None:
    log = ListLog({0: [EVENTS.encode(event) for event in market(2_000, mean_gap_ms=10)]})
    found = fold_history(log, {0: (0, 2_000)}, shard, SteppingClock(), lambda *_: None)
    poll = ListLog(log.records, per_poll=2_000).open(0, 0).poll(2_000)
    assert poll is not None
    matured = shard(0).advance(decode(poll)).matured
    ts = np.sort(matured.stamps[matured.void == 0, 0])
    assert len(ts) > 20
    np.testing.assert_array_equal(found.ts, ts)
    assert len(found.labels) == len(found.features) == len(ts)


def test_records_that_come_meanwhile_are_left_and_one_that_does_not_come_is_an_error() -> None:
    log = ListLog({0: [EVENTS.encode(event) for event in market(3_000, mean_gap_ms=10)]}, per_poll=4_096)
    whole = fold_history(ListLog({0: log.records[0][:2_000]}), {0: (0, 2_000)}, shard, SteppingClock(), lambda *_: None)
    found = fold_history(log, {0: (0, 2_000)}, shard, SteppingClock(), lambda *_: None)
    np.testing.assert_array_equal(found.ts, whole.ts)
    assert found.spans == [(0, 0, 2_000)]
    with pytest.raises(LogError, match=r"partition 0@3000: expected records up to 3001, nothing came for 20 s"):
        fold_history(log, {0: (0, 3_001)}, shard, SteppingClock(), lambda *_: None)


def test_a_label_looks_ahead_over_as_many_rows_as_lie_within_its_horizon() -> None:
    ts = np.array([0, 0, 1, 5, 6, 20], np.int64)
    assert rows_ahead(ts, 5) == 4
    assert rows_ahead(ts, 0) == 2
    assert rows_ahead(ts[:0], 5) == 0
