"""One program under supervision: how it is started, how one knows that it is ready, and how it is stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from infra.private import private_folder
from schemas.errors import BackendError

WRAPPER: Final = Path(__file__).with_name("child.py")
LOG_ROTATES_AT: Final = 32 << 20
TAIL_LINES: Final = 20


class ServiceFailed(BackendError):
    """A service cannot be brought up, or died too often; the message ends with its last log lines."""


@dataclass(frozen=True)
class Service:
    """What to run, and when it counts as running.

    `ready` is asked again and again and must return fast. `stop_after`: how long it may take to end after SIGTERM before
    it gets SIGKILL. `env`: its whole environment, ours where None. `log_path`: where its output goes, chosen by the
    supervisor where None. `ports`: for people and for `tickwire sql`, by what they speak.

    `mended`: asked once after it died and is ready again, before anybody reaches it; whether its clients must start anew.
    Until then the service named `door` is kept down, and those in `leaning` are started anew where `mended` says so.
    `stopped`: called when it has ended by itself after SIGTERM, with all that was started after it ended before.

    `nice`: below 0 it goes before others where many want a core and we may say so (root may), above 0 behind them.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    stop_after: timedelta = timedelta(seconds=15)
    ready_within: timedelta = timedelta(seconds=30)
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    log_path: Path | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    mended: Callable[[], bool] | None = None
    stopped: Callable[[], None] | None = None
    door: str = ""
    leaning: Sequence[str] = ()
    nice: int = 0


class Process:
    """A started service, in a session of its own: a Ctrl-C in our terminal does not reach it, our death does.

    Start it from a thread that lives as long as it shall: the kernel takes that thread for its parent.
    """

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        _rotate(log)
        rank = [f"--nice={service.nice}"] if service.nice else []
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid()), *rank, *service.command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=service.cwd,
                env=None if service.env is None else dict(service.env),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def stop(self) -> bool:
        """SIGTERM, after `stop_after` SIGKILL, and SIGKILL for what it started itself; whether it ended by itself."""
        if self.exit_code() is not None:
            return True
        self._process.terminate()
        try:
            self._process.wait(self.service.stop_after.total_seconds())
            willing = True
        except subprocess.TimeoutExpired:
            willing = False
        self.sweep()
        self._process.wait()
        return willing

    def wait(self) -> None:
        """Return when it has ended."""
        self._process.wait()

    def sweep(self) -> None:
        """SIGKILL for it and for what it started; for use at its end only, while its number is nobody else's."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, indented; a word about it where there are none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - (1 << 16)))
            last = stream.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        last = []
    return "\n".join(f"    {line}" for line in last) or "    (it wrote nothing)"


def _rotate(log: Path) -> None:
    private_folder(log.parent)
    if log.exists() and log.stat().st_size > LOG_ROTATES_AT:
        log.replace(log.with_suffix(log.suffix + ".1"))
