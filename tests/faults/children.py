"""Processes of the fault bench: started by us, known by number, and gone when we are, however we end."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.embedded.service import WRAPPER
from tests.product.running import ROOT


def bound(command: Sequence[str]) -> list[str]:
    """The command, told by the kernel to end when this process dies; start it from the main thread."""
    return [sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid()), *command]


class Child:
    """One program that is killed and started again; its output is kept."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.name, self.command, self.log, self.env = name, list(command), log, dict(env)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self, **more: str) -> None:
        """Start it, with these variables beside its own."""
        self.starts += 1
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                bound(self.command), cwd=ROOT, env=self.env | more, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process is not None and self.process.poll() is None

    def send(self, number: int) -> None:
        """A signal, if it still runs."""
        if self.process is not None and self.running:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self, number: int = signal.SIGTERM, within_s: float = 60) -> int:
        """Ask it to end; SIGKILL past the deadline. Its exit code."""
        self.send(number)
        assert self.process is not None
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def tail(self, characters: int = 2_000) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""
