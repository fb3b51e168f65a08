"""While we score: is the wall clock set back? Bytewax lets a source sleep until a time of that clock, so it would sleep on."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from schemas.errors import BackendError

EVERY_S: Final = 1.0
MOST_BACK_NS: Final = 1_000_000_000


def _ahead_ns() -> int:
    """How far the wall clock is ahead of the one that nobody sets; also while a machine sleeps they go on together."""
    never_set = time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(never_set)


class ClockWatch:
    """Looks every second, on a thread of its own; calls `stop` once the clock was set back by more than a second.

    A process that is started anew sleeps by the new time. A clock that is slowed or set forward harms nobody.
    """

    def __init__(self, stop: Callable[[], None], ahead_ns: Callable[[], int] = _ahead_ns) -> None:
        self._stop, self._ahead_ns = stop, ahead_ns
        self._before_ns = ahead_ns()
        self._found: BackendError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="clock-watch", daemon=True)

    def __enter__(self) -> "ClockWatch":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        if kind is not None and issubclass(kind, SystemExit):  # what was under way was told to end: by us?
            self.complain()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Compare with the time before."""
        now_ns = self._ahead_ns()
        back_ns, self._before_ns = self._before_ns - now_ns, now_ns
        if back_ns > MOST_BACK_NS:
            self._found = BackendError(
                f"the wall clock was set back by {back_ns / 1e9:.3f} s: scoring would sleep as long, so it ends; start it again"
            )
            structlog.get_logger().error("scoring ends", reason=str(self._found))
            self._stop()

    def complain(self) -> None:
        """`BackendError` where the clock was set back."""
        if self._found is not None:
            raise self._found
