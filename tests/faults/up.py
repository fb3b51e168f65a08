"""`tickwire up` as the fault bench sees it: started like a user starts it, its parts killed one by one or all at once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from infra.clickhouse import Database, connect
from infra.embedded.instance import RunState, identity, read_run_state
from tests.faults.children import Child
from tests.product.running import ROOT, environment
from tests.services.processes import until

UP_WITHIN_S: Final = 150.0
DEATHS: Final = 4
DEATHS_WITHIN_S: Final = 31.0
"""The supervisor gives up a service that dies five times within 30 s; a bench that kills faster tests nothing else."""
READY: Final = "Ctrl-C stops everything"
DIED: Final = re.compile(r"(\S+) (?:was killed by signal|ended with status)")


class Up:
    """One data directory and whatever runs on it."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder, self.data = folder, folder / "data"
        self.env = environment(self.data, **settings)
        command = [sys.executable, "-m", "infra.cli", "up", "--source", "none"]
        self.child = Child("up", command, folder / "up.said", self.env | {"COLUMNS": "400"})
        self.addresses: Mapping[str, str] = {}
        self._deaths: dict[str, deque[float]] = {}

    def start(self) -> None:
        """Start it and return when it says that everything runs."""
        said = self.child.tail(10**9).count(READY)
        self.child.start()

        def ready() -> bool:
            logs = "\n".join(
                f"{log}:\n{log.read_text(errors='replace')[-1500:]}" for log in self.data.glob("logs/*.log")
            )
            assert self.child.running, self.child.tail() + logs
            return self.child.tail(10**9).count(READY) > said

        until("everything running", ready, within_s=UP_WITHIN_S)
        self.addresses = self.state().addresses
        self._deaths = {}

    def state(self) -> RunState:
        """What runs; AssertionError where nothing does."""
        state = read_run_state(self.data)
        assert state is not None, f"nothing runs on {self.data}; `up` said:\n{self.child.tail()}"
        return state

    def pid(self, name: str) -> int | None:
        """Of a part that runs; None while it is dead."""
        for service in self.state().services:
            if service.name == name and identity(service.pid) == service.identity:
                return service.pid
        return None

    def kill(self, names: Sequence[str]) -> list[str]:
        """SIGKILL for all of them at once; the names of those that ran."""
        pids = {name: pid for name in names if (pid := self.pid(name)) is not None}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        for name in pids:
            self._deaths.setdefault(name, deque(maxlen=DEATHS)).append(time.monotonic())
        return list(pids)

    def kill_everything(self) -> int:
        """SIGKILL for the supervisor and everything it started; how many processes that were."""
        state = self.state()
        assert self.child.process is not None
        pids = [self.child.process.pid, *(s.pid for s in state.services if identity(s.pid) == s.identity)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.child.process.wait()
        until("the end of all", lambda: not any(identity(s.pid) == s.identity for s in state.services), within_s=20)
        return len(pids)

    def wait_s(self, names: Sequence[str], kills: int) -> float:
        """How long to wait so that none of them, dying so often at once, dies too often for the supervisor."""
        now = time.monotonic()
        known = (self._deaths.get(name, deque()) for name in names)
        return max([0.0, *(of[kills - 1 - DEATHS] + DEATHS_WITHIN_S - now for of in known if len(of) + kills > DEATHS)])

    def deaths(self) -> dict[str, int]:
        """How often each part died, as the supervisor tells; whatever killed it."""
        counted: dict[str, int] = {}
        for name in DIED.findall(self.child.tail(10**9)):
            counted[name] = counted.get(name, 0) + 1
        return counted

    def score_that_fails(self, failpoint: str, within_s: float = 40) -> bool:
        """Let a scoring process with a failpoint take the place of the supervised one, until it dies; whether of that.

        The supervisor is stopped meanwhile: it would start its own at once.
        """
        command = [sys.executable, "-m", "infra.cli", "score"]
        own = Child("score", command, self.data / "logs" / "score.log", self.env)
        self.child.send(signal.SIGSTOP)
        try:
            self.kill(["score"])
            until("the end of score", lambda: self.pid("score") is None, within_s=10)
            own.start(FP=failpoint)
            assert own.process is not None
            deadline = time.monotonic() + within_s
            while own.running and time.monotonic() < deadline:
                time.sleep(0.02)
            killed = own.process.poll() == -signal.SIGKILL
            own.kill()
        finally:
            self.child.send(signal.SIGCONT)
            if of := self._deaths.get("score"):
                of[-1] = time.monotonic()  # the supervisor, stopped until now, counts the death from here
        return killed

    def database(self, timeout_s: float = 60) -> Database:
        """The history."""
        return connect(f"{self.addresses['clickhouse_url']}/tickwire", timeout_s=timeout_s)

    def verified(self, kills: int, within_s: float = 1_200) -> dict[str, Any]:
        """What `tickwire verify` says; AssertionError where it could not be done."""
        command = [sys.executable, "-m", "infra.cli", "verify", "--json", "--kills", str(kills)]
        done = subprocess.run(
            command, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=within_s, check=False
        )
        assert done.returncode in (0, 1), done.stderr + done.stdout
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def stop(self) -> None:
        """Ctrl-C."""
        if self.child.running:
            self.child.stop(signal.SIGINT, within_s=90)


def poll(reached: Callable[[], bool], within_s: float, every_s: float = 0.05) -> float | None:
    """Seconds until it was reached; None where it was not."""
    began = time.monotonic()
    while not reached():
        if time.monotonic() - began > within_s:
            return None
        time.sleep(every_s)
    return time.monotonic() - began
