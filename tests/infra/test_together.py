"""Questions that are asked together: nobody is forgotten, nobody is given something old."""

import asyncio
from collections.abc import Sequence

import pytest

from infra.together import Together
from schemas.errors import StoreUnavailable


class Slow:
    """Answers with how often it was asked, once it is let go."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, names: Sequence[str]) -> Sequence[str]:
        self.asked.append(list(names))
        number = len(self.asked)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [f"{name}{number}" for name in names]


async def begun(slow: Slow) -> tuple[Together[str], list[asyncio.Task[str]]]:
    """One question is under way, for A; then A, B and B are wanted."""
    together = Together(slow)
    first = asyncio.create_task(together.find("A"))
    while not slow.asked:
        await asyncio.sleep(0)
    rest = [asyncio.create_task(together.find(name)) for name in "ABB"]
    await asyncio.sleep(0)
    return together, [first, *rest]


def test_what_is_wanted_meanwhile_is_the_next_question_and_as_new_as_it() -> None:
    async def asked() -> None:
        slow = Slow()
        together, waiting = await begun(slow)
        slow.go.set()
        assert await asyncio.gather(*waiting) == ["A1", "A2", "B2", "B2"]
        assert slow.asked == [["A"], ["A", "B"]]
        assert await together.find("C") == "C3"

    asyncio.run(asked())


def test_whoever_stops_waiting_takes_it_from_nobody() -> None:
    async def asked() -> None:
        slow = Slow()
        _, (first, again, one, other) = await begun(slow)
        one.cancel()
        first.cancel()
        await asyncio.sleep(0)
        slow.go.set()
        assert (await again, await other) == ("A2", "B2")

    asyncio.run(asked())


def test_an_error_goes_to_everyone_who_waits_and_the_next_question_is_a_new_one() -> None:
    async def asked() -> None:
        slow = Slow()
        together, waiting = await begun(slow)
        slow.error = StoreUnavailable("away")
        slow.go.set()
        for each in waiting:
            with pytest.raises(StoreUnavailable, match="away"):
                await each
        slow.error = None
        assert await together.find("D") == "D3"

    asyncio.run(asked())
