"""Folding what is on the log at full speed, into a matrix that a model can be trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from processors.batch import Column, Integers, Matrix
from processors.shard import Shard
from schemas.errors import LogError
from streams.decode import decode
from streams.ports import Clock, Log

BLOCK = 65_536
PATIENCE_S = 20.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class History:
    """Matured predictions in order of time: features [n, features], labels 0, 0.5 or 1 [n]; what was read."""

    features: Matrix
    labels: Column
    ts: Integers
    """Of the predictions."""
    spans: Sequence[tuple[int, int, int]]
    """(partition, first offset, next offset)."""


def fold_history(
    log: Log, ends: dict[int, tuple[int, int]], make: Callable[[int], Shard], clock: Clock, on_progress: Progress
) -> History:
    """Read every partition from its first record to its end and keep what matured.

    ends: partition to (first offset, next offset), as the broker says now. on_progress: (records done, records in all).
    `LogError` where a record of these does not come.
    """
    total, done = sum(high - low for low, high in ends.values()), 0
    features, labels, matured_at = [], [], []
    for partition, (low, high) in ends.items():
        if low == high:
            continue
        shard, reader, waited = make(partition), log.open(partition, low), 0.0
        at = low
        while at < high:
            poll = reader.poll(min(BLOCK, high - at))
            if poll is None:
                if waited > PATIENCE_S:
                    raise LogError(
                        f"partition {partition}@{at}: expected records up to {high}, nothing came for {PATIENCE_S:g} s; look at "
                        "the broker and run it again"
                    )
                clock.sleep(0.002)
                waited += 0.002
                continue
            waited = 0.0
            at, done = poll.offsets[-1] + 1, done + len(poll.offsets)
            matured = shard.advance(decode(poll)).matured
            answered = np.flatnonzero(matured.void == 0)
            features.append(matured.features[answered])
            labels.append(matured.label[answered])
            matured_at.append(matured.stamps[answered, 0])
            on_progress(done, total)
        reader.close()
    if not features:
        return History(np.empty((0, 0)), np.empty(0), np.empty(0, np.int64), ())
    ts = np.concatenate(matured_at)
    order = np.argsort(ts, kind="stable")
    spans = [(partition, low, high) for partition, (low, high) in ends.items()]
    return History(np.concatenate(features)[order], np.concatenate(labels)[order], ts[order], spans)
