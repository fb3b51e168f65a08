"""One running tickwire per data directory: a lock that says so, and a file that says where everything is."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from infra.private import private_folder, write_private
from schemas.errors import SettingsError, TickwireError

LOCK: Final = "lock"
STATE: Final = "run.json"
OTHERS: Final = b"this folder had other files before tickwire came: it is never emptied\n"
LEFTOVERS_WITHIN_S: Final = 15.0
LOOKS: Final = 50
LOOK_EVERY_S: Final = 0.01
"""Who asks what runs here (`read_run_state`) holds the lock for a moment: only one that is held for longer is held by `up`."""


class AlreadyRunning(TickwireError):
    """Somebody runs on this data directory."""


@dataclass(frozen=True)
class RunningService:
    """A service as `run.json` tells it; `identity` tells its process from a later one with the same number."""

    name: str
    pid: int
    identity: str
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunState:
    """What runs on a data directory: the supervisor, its services, and the addresses that clients want."""

    pid: int
    services: Sequence[RunningService] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)


def read_run_state(directory: Path) -> RunState | None:
    """What runs on this directory now; None where nothing does, whatever a killed one left behind."""
    try:
        with (directory / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read(directory / STATE)


class Instance:
    """Holds the lock of a data directory from its making to `close`.

    Raises AlreadyRunning where somebody else does. What a killed supervisor left running is stopped first.
    """

    def __init__(self, directory: Path) -> None:
        private_folder(directory)
        self.directory = directory
        others = not (directory / LOCK).exists() and any(directory.iterdir())
        self._lock = _locked(directory)
        if others:
            self._lock.write(OTHERS)
            self._lock.flush()
        left = _read(directory / STATE)
        _stop_leftovers(left.services if left else ())
        self.write(RunState(os.getpid()))

    def write(self, state: RunState) -> None:
        """Replace `run.json`; a reader sees the old or the new one, whole."""
        draft = self.directory / f"{STATE}.new"
        write_private(draft, json.dumps(asdict(state), indent=2) + "\n")  # addresses have passwords
        draft.replace(self.directory / STATE)

    def empty(self) -> None:
        """Throw away everything in the directory but what says that we hold it.

        SettingsError where it had files, and no lock of ours, when we first came.
        """
        if (self.directory / LOCK).stat().st_size:
            raise SettingsError(
                f"{self.directory}: expected a folder of tickwire's own to empty, found one that had other files before; empty "
                "it yourself, with its lock, or name another place (TICKWIRE_DATA)"
            )
        for each in self.directory.iterdir():
            if each.name in (LOCK, STATE):
                continue
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()

    def close(self) -> None:
        """Forget the state and let the next one in."""
        (self.directory / STATE).unlink(missing_ok=True)
        self._lock.close()


def identity(pid: int) -> str:
    """When this process was started, in the system's own words; empty if there is none."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if fields[0] == "Z" else fields[19]
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()


def _locked(directory: Path) -> IO[Any]:
    lock = (directory / LOCK).open("a+b")
    for _ in range(LOOKS):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        time.sleep(LOOK_EVERY_S)
    lock.close()
    state = _read(directory / STATE)
    who = f"process {state.pid}" if state else "another process"
    raise AlreadyRunning(
        f"tickwire already runs on {directory} ({who}): stop it with Ctrl-C or `kill {state.pid if state else 'PID'}`, "
        "or choose another data directory"
    )


def _read(path: Path) -> RunState | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        services = tuple(RunningService(**service) for service in raw["services"])
        return RunState(raw["pid"], services, raw["addresses"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _stop_leftovers(services: Sequence[RunningService]) -> None:
    """Two processes over one folder would ruin it: what is left is stopped, last started first."""
    for service in reversed(services):
        deadline = time.monotonic() + LEFTOVERS_WITHIN_S
        number = signal.SIGTERM
        while identity(service.pid) == service.identity != "":
            with suppress(ProcessLookupError):
                os.killpg(service.pid, number)
            time.sleep(0.02)
            number = signal.SIGKILL if time.monotonic() > deadline else signal.SIGTERM
