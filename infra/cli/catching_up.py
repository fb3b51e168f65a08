"""Waiting for the scoring process: a slow machine, or a long log, is no reason to give up while records are folded."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from rich.progress import Progress

from schemas.errors import BackendError, SchemaError, StoreUnavailable
from schemas.rows import READY_LAG, ScoreStatus

STILL_S: Final = 60.0
"""Scoring that has caught up, or stands still, and is not ready for so long, is given up."""
LOOK_EVERY_S: Final = 0.1


def await_scoring(
    ready: Callable[[], bool],
    scores: Callable[[], Sequence[ScoreStatus]],
    bar: Progress,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return when it is ready; BackendError where it is not, although it has caught up or does not get on any more.

    `scores`: what the scoring processes say of themselves. `bar`: shows how much of the log is left.
    """
    task = bar.add_task("scoring starts", total=None)
    most, waiting, moved_at = -1, 0, clock()
    while not ready():
        folded, waiting = _progress(scores)
        if folded > most:
            if most < 0 or waiting > READY_LAG:
                moved_at = clock()
            most = folded
            told = f"scoring catches up with the log: {waiting:,} records wait" if waiting else "scoring starts"
            bar.update(task, description=told, completed=folded, total=folded + waiting or None)
        if clock() - moved_at > STILL_S:
            raise BackendError(
                f"scoring is not ready and has not come nearer for {STILL_S:.0f} s ({max(most, 0):,} records folded, {waiting:,} "
                "wait); see score.log in logs/ under the data directory"
            )
        pause(LOOK_EVERY_S)


def _progress(scores: Callable[[], Sequence[ScoreStatus]]) -> tuple[int, int]:
    """(records that have left by a door, records that wait); nothing is known before the first status."""
    try:
        told = scores()
    except (StoreUnavailable, SchemaError):
        return -1, 0
    return sum(sum(each.events.values()) for each in told), sum(sum(each.lag.values()) for each in told)
