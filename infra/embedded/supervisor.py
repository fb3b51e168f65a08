"""Starts services, watches them, starts them again when they die, and stops them in order."""

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

from infra.embedded.instance import Instance, RunningService, RunState, identity
from infra.embedded.service import Process, Service, ServiceFailed, tail
from infra.embedded.watched import DEATHS, Watched
from schemas.errors import TickwireError

LOOK_EVERY_S: Final = 0.05
ASK_READY_EVERY_S: Final = 0.005
DEATHS_WITHIN_S: Final = 30.0
FIRST_BACKOFF_S: Final = 0.1
LONGEST_BACKOFF_S: Final = 5.0
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

log = logging.getLogger("tickwire.supervisor")


class Supervisor:
    """The services of one data directory; a context manager that leaves nothing running behind it.

    Services stop in the reverse order of their start: start what holds data first, what writes last. One that dies is
    started again, with a pause that doubles; one that dies 5 times in 30 s is given up. `on_event` is told each of this
    in a sentence, from another thread.

    Raises AlreadyRunning where another one holds `directory`.
    """

    def __init__(self, directory: Path, *, on_event: Callable[[str], None] = log.info) -> None:
        self.directory = directory.resolve()
        self._instance = Instance(self.directory)
        self._on_event = on_event
        self._services: list[Watched] = []
        self._addresses: dict[str, str] = {}
        self._asked: deque[tuple[Service, Future[Watched]]] = deque()
        self._wake = threading.Event()
        self._failed = threading.Event()
        self._looking = threading.Lock()
        self._stopping = False
        self._interrupted = False
        self._broken: BaseException | None = None
        self._ended = False
        self._before: dict[int, Any] = {}
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def empty(self) -> None:
        """Throw away everything in the directory; before anything is started."""
        self._instance.empty()

    def start(self, *services: Service) -> None:
        """Start these at once, and return when all of them are ready.

        Raises ServiceFailed for one that is not ready in time or dies too often; the others keep running until `stop`.
        """
        begun = time.monotonic()
        waiting = [self._ask(service) for service in services]
        while waiting:
            for watched in list(waiting):
                if self._failed.is_set():  # also one that was ready before: these may lean on it
                    raise self._why()
                if watched.phase == "running" and watched.service.ready():
                    self.tell(f"{watched.service.name} is ready after {time.monotonic() - begun:.2f} s")
                    waiting.remove(watched)
                elif time.monotonic() - begun > watched.service.ready_within.total_seconds():
                    raise self._late(watched)
            if waiting:
                time.sleep(ASK_READY_EVERY_S)

    def publish(self, addresses: Mapping[str, str]) -> None:
        """Tell `run.json`, and with it every command on this directory, where clients connect."""
        with self._looking:
            self._addresses.update(addresses)
            self._write_state()

    def services(self) -> tuple[Watched, ...]:
        """What was started, in that order."""
        return tuple(self._services)

    def log_path(self, name: str) -> Path:
        """Where a service of this name writes."""
        return self.directory / "logs" / f"{name}.log"

    def stop_on_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, once: a second one changes nothing.

        A SIGHUP that is ignored (`nohup`) stays so.
        """
        for number in STOP_SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._interrupt)

    def wait(self) -> None:
        """Block until a signal comes (KeyboardInterrupt) or a service is given up (ServiceFailed)."""
        while not self._failed.wait(1.0):
            pass
        raise self._why()

    def stop(self) -> None:
        """Stop everything, last started first; returns when nothing is left. A second call does nothing."""
        self._stopping = True
        with self._looking:  # the watching thread starts nothing from here on
            if self._ended:
                return
            self._ended = True
        for watched in reversed(self._services):
            lived = watched.process.exit_code() is None and not watched.broken
            willing = watched.process.stop()
            if (
                watched.service.stopped is not None
                and lived
                and willing
                and watched.process.exit_code() != -signal.SIGKILL
            ):
                watched.service.stopped()
            watched.phase = "stopped"
            how = "stopped" if willing else f"did not stop within {watched.service.stop_after} and was killed"
            self.tell(f"{watched.service.name} {how}")
        self._wake.set()
        self._watcher.join()
        self._instance.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping and not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt

    def _ask(self, service: Service) -> Watched:
        """Have the watching thread start it: the kernel stops a child when the thread that started it ends."""
        asked: Future[Watched] = Future()
        self._asked.append((service, asked))
        self._wake.set()
        while True:
            try:
                return asked.result(1.0)
            except TimeoutError:
                if self._broken is not None:
                    raise self._why() from self._broken

    def _watch(self) -> None:
        try:
            self._watch_until_the_end()
        except BaseException as error:
            self._broken = error
            self._failed.set()
            raise

    def _watch_until_the_end(self) -> None:
        while not (self._ended and all(watched.phase == "stopped" for watched in self._services)):
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()
            with self._looking:
                self._look()

    def _look(self) -> None:
        while self._asked:
            self._begin(*self._asked.popleft())
        for watched in () if self._stopping else self._services:
            self._look_at(watched)

    def _begin(self, service: Service, asked: "Future[Watched]") -> None:
        path = service.log_path or self.log_path(service.name)
        try:
            if self._stopping:
                raise ServiceFailed(f"{service.name} cannot be started: everything is being stopped")
            watched = Watched(service, path, Process(service, path))
        except (OSError, ServiceFailed) as error:
            asked.set_exception(error)
            return
        self._services.append(watched)
        self._write_state()
        asked.set_result(watched)

    def _look_at(self, watched: Watched) -> None:
        if watched.phase == "running" and (code := watched.process.exit_code()) is not None:
            self._bury(watched, code)
        elif watched.phase == "waiting" and time.monotonic() >= watched.restart_at:
            try:
                watched.process = Process(watched.service, watched.log)
            except OSError as error:
                self._try_again_later(watched, f"cannot be started: {error}")
                return
            watched.restarts += 1
            watched.phase = "running"
            self._write_state()
        elif watched.phase == "running" and watched.broken and watched.service.ready():
            self._mend(watched)

    def _mend(self, watched: Watched) -> None:
        """It is back: let it judge what it lost, then let its clients in."""
        assert watched.service.mended is not None
        try:
            anew = watched.service.mended()
        except TickwireError as error:
            self.tell(f"{watched.service.name} is back but not as it was: {error}")
            watched.process.sweep()  # its death is counted, and it gets another chance
            return
        watched.broken = False
        for other in self._services:
            if anew and other.service.name in watched.service.leaning and other.phase in ("running", "waiting"):
                self._hold(other)
                self.tell(f"{other.service.name} is started anew on the new log")
            if other.phase == "held":
                other.phase, other.restart_at = "waiting", 0.0

    def _hold(self, watched: Watched) -> None:
        """Stop it at once, until what it needs is there again."""
        if watched.phase == "running":
            watched.process.sweep()
            watched.process.wait()
        watched.phase = "held"

    def _bury(self, watched: Watched, code: int) -> None:
        watched.process.sweep()
        if watched.service.mended is not None:
            watched.broken = True
            for other in self._services:
                if other.service.name == watched.service.door and other.phase in ("running", "waiting"):
                    self._hold(other)
        self._try_again_later(watched, f"was killed by signal {-code}" if code < 0 else f"ended with status {code}")

    def _try_again_later(self, watched: Watched, how: str) -> None:
        now = time.monotonic()
        watched.deaths.append(now)
        recent = sum(now - at <= DEATHS_WITHIN_S for at in watched.deaths)
        if recent >= DEATHS:
            watched.phase = "failed"
            self._failed.set()
            self.tell(str(self._failure(watched)))
            return
        pause = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (recent - 1))
        watched.restart_at = now + pause
        watched.phase = "waiting"
        self.tell(f"{watched.service.name} {how}; it is started again in {pause:g} s (log: {watched.log})")

    def tell(self, event: str) -> None:
        """A listener whose terminal is gone must not keep the services from being watched and stopped."""
        try:
            self._on_event(event)
        except OSError as error:
            log.warning("%s (nobody could be told: %s)", event, error)

    def _why(self) -> ServiceFailed:
        """What there is to say when the waiting is over."""
        for watched in self._services:
            if watched.phase == "failed":
                return self._failure(watched)
        return ServiceFailed(f"the watch over the services broke off: {self._broken!r}")

    def _failure(self, watched: Watched) -> ServiceFailed:
        return ServiceFailed(
            f"{watched.service.name} died {DEATHS} times within {DEATHS_WITHIN_S:g} s and is given up; "
            f"its log {watched.log} ends:\n{tail(watched.log)}"
        )

    def _late(self, watched: Watched) -> ServiceFailed:
        return ServiceFailed(
            f"{watched.service.name} was not ready within {watched.service.ready_within.total_seconds():g} s; "
            f"its log {watched.log} ends:\n{tail(watched.log)}"
        )

    def _write_state(self) -> None:
        running = tuple(
            RunningService(watched.service.name, watched.pid, identity(watched.pid), dict(watched.service.ports))
            for watched in self._services
        )
        try:
            self._instance.write(RunState(pid=os.getpid(), services=running, addresses=dict(self._addresses)))
        except OSError as error:
            self.tell(f"what runs could not be written down: {error}")
