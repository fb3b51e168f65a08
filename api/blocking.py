"""Adapters block, the event loop must not: they are called in threads, a bounded number at a time."""

from collections.abc import Callable
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")
THREADS: Final = 8


class Blocking:
    """Calls of one service, at most `threads` at once, so that a slow service can't take the threads of another."""

    def __init__(self, threads: int = THREADS) -> None:
        self._limiter = CapacityLimiter(threads)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """What the function returns or raises."""
        return await to_thread.run_sync(function, *arguments, limiter=self._limiter)
