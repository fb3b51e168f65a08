"""Writes to the outbox off the event loop: whatever waits goes into one commit, and a full disk is waited for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog

from infra.hooks.database import Database
from schemas.errors import OutboxError

T = TypeVar("T")
AGAIN_S: Final = 1.0


class Writes:
    """Runs pieces of work, each inside the transaction that also has all others that waited. One thread, in order.

    While the file is busy or the disk full, the same work is tried again each second, and its callers wait. Anything else
    that fails is raised to every caller of that commit, and nothing of it is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._committing: asyncio.Task[None] | None = None

    async def commit(self, work: Callable[[], T]) -> T:
        """What the work returned, once it is on disk."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        return await asyncio.shield(done)

    async def read(self, work: Callable[[], T]) -> T:
        """What the work returned; nothing is committed."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _commit_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                found = await self._patiently([work for work, _ in batch])
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for (_, done), value in zip(batch, found, strict=True):
                    if not done.done():
                        done.set_result(value)

    async def _patiently(self, batch: list[Callable[[], Any]]) -> list[Any]:
        while True:
            try:
                return await self.read(lambda: self._transact(batch))
            except OutboxError as error:
                if not error.passing:
                    raise
                structlog.get_logger().warning("outbox waits", reason=str(error))
                await asyncio.sleep(AGAIN_S)

    def _transact(self, batch: list[Callable[[], Any]]) -> list[Any]:
        with self._database.transaction():
            return [work() for work in batch]
