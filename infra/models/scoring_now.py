"""Which model scores now, for every request that names no version: asked once a second, however many come."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

import structlog

from schemas.errors import BackendError, SchemaError

KNOWN_S: Final = 1.0


class ScoringNow:
    """What `ask` said last, an id or nothing; while it does not answer, that still holds. May be called from several threads."""

    def __init__(self, ask: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._id, self._until = "", float("-inf")
        self._lock = Lock()

    def __call__(self) -> str:
        """At most one caller asks at a time; the others have what was said before, the very first wait for it."""
        if self._clock() >= self._until and self._lock.acquire(blocking=self._until < 0):
            try:
                if self._clock() >= self._until:
                    self._id = self._ask()
            except (BackendError, SchemaError) as error:
                structlog.get_logger().warning("who scores now cannot be told", reason=str(error))
            finally:
                self._until = self._clock() + KNOWN_S
                self._lock.release()
        return self._id
