"""How a worker ends: by the reason, whatever else comes in the way of its end."""

import asyncio
import os
import signal
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest

from schemas.errors import BackendError
from streams.agents import worker


class App:
    """What `run` needs of Faust's: it runs until it is told to stop or crashes, and its stop may fail or never end."""

    def __init__(self, *, crash: Exception | None = None, stop: Exception | None = None, hangs: bool = False) -> None:
        self.conf = SimpleNamespace(id="tickwire-news")
        self.crash_reason: Exception | None = None
        self._crash, self._stop, self._hangs = crash, stop, hangs
        self._ended = asyncio.Event()

    async def start(self) -> None:
        self.stubborn = asyncio.create_task(_stubborn())
        await asyncio.sleep(0)
        if self._crash is None:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.crash_reason = self._crash
        self._ended.set()

    async def wait_until_stopped(self) -> None:
        await self._ended.wait()

    async def stop(self) -> None:
        if self._hangs:
            await asyncio.Event().wait()
        if self._stop is not None:
            raise self._stop


async def _stubborn() -> None:
    """A task that does not end when it is cancelled."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SHUTDOWN_S", 0.05)
    monkeypatch.setattr(worker, "CRASHED_S", 0.05)


def run(**how: Any) -> None:
    worker.run(cast(faust.App, App(**how)))


def test_a_worker_told_to_stop_returns_whatever_task_still_runs() -> None:
    run()


@pytest.mark.parametrize("end", [{}, {"stop": RuntimeError("Event loop is closed")}, {"hangs": True}])
def test_a_crash_is_told_however_the_end_goes(end: Any) -> None:
    with pytest.raises(BackendError, match="tickwire-news stopped: ZeroDivisionError"):
        run(crash=ZeroDivisionError("a bug"), **end)


@pytest.mark.parametrize(
    ("end", "why"), [({"stop": RuntimeError("lost the broker")}, "lost the broker"), ({"hangs": True}, "TimeoutError")]
)
def test_work_that_could_not_be_finished_is_told(end: Any, why: str) -> None:
    with pytest.raises(BackendError, match=f"did not finish its work .*{why}.* is read again"):
        run(**end)
