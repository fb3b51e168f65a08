"""While we score: is the wall clock set back? Bytewax lets a source sleep until a time of that clock, so it would sleep on."""

import time
from collections.abc import Callable
from typing import Final

from infra.watch import Watch
from schemas.errors import BackendError

EVERY_S: Final = 1.0
MOST_BACK_NS: Final = 1_000_000_000


def _ahead_ns() -> int:
    """How far the wall clock is ahead of the one that nobody sets; also while a machine sleeps they go on together."""
    never_set = time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(never_set)


class ClockWatch(Watch):
    """Looks every second; ends what is under way once the clock was set back by more than a second.

    A process that is started anew sleeps by the new time. A clock that is slowed or set forward harms nobody.
    """

    def __init__(self, stop: Callable[[], None], ahead_ns: Callable[[], int] = _ahead_ns) -> None:
        super().__init__("clock-watch", EVERY_S, stop)
        self._ahead_ns = ahead_ns
        self._before_ns = ahead_ns()

    def reason_to_end(self) -> BackendError | None:
        """Compare with the time before."""
        now_ns = self._ahead_ns()
        back_ns, self._before_ns = self._before_ns - now_ns, now_ns
        if back_ns <= MOST_BACK_NS:
            return None
        return BackendError(
            f"the wall clock was set back by {back_ns / 1e9:.3f} s: scoring would sleep as long, so it ends; start it again"
        )
