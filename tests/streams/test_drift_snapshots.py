"""What the drift watch remembers: it goes on with the same words, and what is not its own, or no longer fits, is refused."""

import hashlib
from dataclasses import replace

import msgspec
import pytest

from models.drift_reference import reference_of
from models.input_drift import SCORE
from schemas.drift import RetrainOrder
from schemas.errors import RecoveryError
from streams.drift_watch import DriftWatch, Watched
from tests.models.quiet_market import WINDOW, day
from tests.streams.drift_days import PARTITIONS, RULES, World, of, run


def test_a_snapshot_after_any_poll_goes_on_with_the_same_words(watched: Watched) -> None:
    world = World(day(1, day_number=1, minutes=90, loud=3.0))
    whole = DriftWatch(watched, RULES)
    expected = run(whole, world, size=20)
    assert of(RetrainOrder, expected)
    watch, found, left = DriftWatch(watched, RULES), [], [540] * PARTITIONS
    for partition, outcomes in world.polls(20):
        watch.take(partition, outcomes, world)
        left[partition] -= len(outcomes)
        found += watch.settle([each for each in range(PARTITIONS) if left[each]])
        saved, watch = watch.snapshot(), DriftWatch(watched, RULES)
        watch.restore(saved)
    assert found == expected
    assert watch.snapshot() == whole.snapshot()


def test_a_damaged_snapshot_or_one_of_another_model_is_refused(watched: Watched) -> None:
    watch = DriftWatch(watched, RULES)
    run(watch, World(day(1, minutes=20)))
    saved = watch.snapshot()
    bent = bytearray(saved)
    bent[len(bent) // 2] ^= 1
    with pytest.raises(RecoveryError, match="do not fit their checksum"):
        DriftWatch(watched, RULES).restore(bytes(bent))
    with pytest.raises(RecoveryError, match="do not fit their checksum"):
        DriftWatch(watched, RULES).restore(saved[:-5])
    other = Watched("m2", watched.reference)
    with pytest.raises(RecoveryError, match="of model m1"):
        DriftWatch(other, RULES).restore(saved)


@pytest.mark.parametrize("symbols", [3, 5])
def test_a_snapshot_is_refused_where_the_reference_was_learnt_again(watched: Watched, symbols: int) -> None:
    watch, second = DriftWatch(watched, RULES), day(2, symbols=symbols)
    run(watch, World(day(1, minutes=20)))
    again = reference_of(second.dataset(), WINDOW, scores={SCORE: second.score})
    with pytest.raises(RecoveryError, match=r"counts by another reference of model m1.*remove it"):
        DriftWatch(replace(watched, reference=again), RULES).restore(watch.snapshot())


def test_a_snapshot_of_before_references_were_told_apart_is_refused(watched: Watched) -> None:
    state = msgspec.msgpack.decode(DriftWatch(watched, RULES).snapshot()[32:])
    del state["reference"]
    raw = msgspec.msgpack.encode(state)
    with pytest.raises(RecoveryError, match="missing required field `reference`"):
        DriftWatch(watched, RULES).restore(hashlib.sha256(raw).digest() + raw)
