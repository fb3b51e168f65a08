"""Programs that tests start: on free ports of 127.0.0.1, watched while they come up, stopped by their own pid."""

import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different (each is held until the last is known)."""
    held = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for sock in held:
            sock.bind((HOST, 0))
        return [int(sock.getsockname()[1]) for sock in held]
    finally:
        for sock in held:
            sock.close()


def listens(port: int) -> bool:
    """Whether something accepts connections on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.5)
        return sock.connect_ex((HOST, port)) == 0


def until(what: str, reached: Callable[[], bool], *, within_s: float, every_s: float = 0.05) -> None:
    """Poll `reached` until it is true; AssertionError naming `what` past the deadline."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(every_s)


class Program:
    """One child process with its output in a file; `start` again after `stop` or `kill` is allowed."""

    def __init__(self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self.log = log
        self.env = None if env is None else dict(env)
        self.child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.child is not None, f"{self.command[0]} was not started"
        return self.child.pid

    def start(self) -> None:
        assert self.child is None, f"{self.command[0]} runs already as {self.pid}"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env
            )

    def await_ready(self, ready: Callable[[], bool], *, within_s: float) -> None:
        """Poll `ready`; a process that ends before it is, or takes too long, fails with the end of its log."""

        def reached() -> bool:
            assert self.child is not None
            code = self.child.poll()
            assert code is None, f"{self.command[0]} ended with {code} while starting; its log ends:\n{self.tail()}"
            return ready()

        try:
            until(f"{self.command[0]} being ready", reached, within_s=within_s)
        except AssertionError:
            self.kill()
            raise

    def stop(self, *, grace_s: float = 20) -> None:
        """SIGTERM, and SIGKILL for one that does not end in time."""
        if self.child is None:
            return
        self.child.terminate()
        try:
            self.child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child = None

    def kill(self) -> None:
        """SIGKILL: what a crash looks like."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
