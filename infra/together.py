"""Questions that come at once are asked at once: one connection and one wait, however many requests there are."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Together(Generic[Answer]):
    """Asks `ask` for one name after the other; those that are wanted while it answers are the next question.

    What is found was asked for after it was wanted: nobody is given what another one had been told before. Belongs to one
    event loop. Raises what `ask` raises, to everyone who waits for that question.
    """

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[Sequence[Answer]]]) -> None:
        self._ask = ask
        self._wanted: dict[str, asyncio.Future[Answer]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def find(self, name: str) -> Answer:
        """The answer for one name; whoever stops waiting for it takes it from nobody else."""
        if name not in self._wanted:
            self._wanted[name] = asyncio.get_running_loop().create_future()
        found = self._wanted[name]
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(found)

    async def _ask_all(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                try:
                    answers = await self._ask(list(wanted))
                except Exception as error:
                    for found in wanted.values():
                        found.set_exception(error)
                        found.exception()  # whoever waited for it may be gone
                else:
                    for found, answer in zip(wanted.values(), answers, strict=True):
                        found.set_result(answer)
        finally:
            self._asking = None
