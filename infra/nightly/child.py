"""`tickwire nightly` as a child: it ends when we are told to, does not outlive us, and holds our lock for as long as it runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final, Self

from infra.embedded.service import WRAPPER

COMMAND: Final = (sys.executable, "-m", "infra.cli")
STOP_WITHIN_S: Final = 8.0
"""From SIGTERM to SIGKILL; less than a supervisor grants us."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def offsets_text(offsets: Mapping[int, int]) -> str:
    """`0:100,3:50`, as `--from` and `--to` want it."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items()))


def nightly_command(
    spans: Mapping[int, tuple[int, int]], *, as_json: bool, command: Sequence[str] = COMMAND
) -> list[str]:
    """What runs the nightly of these spans."""
    first, end = ({p: span[k] for p, span in spans.items()} for k in (0, 1))
    json = ["--json"] if as_json else []
    return [*command, "nightly", "--from", offsets_text(first), "--to", offsets_text(end), *json]


def run_child(command: Sequence[str], *, captured: bool, held: int | None = None) -> tuple[int, str]:
    """Its exit status, 128 + the signal that ended it, and what it wrote to stdout where that is `captured`.

    held: a descriptor that it keeps open, such as a locked file: the lock outlives us as long as the child does.
    Call it from the main thread; SIGTERM and SIGINT are passed on as SIGTERM, and as SIGKILL when it does not end.
    """
    wrapped = [sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid()), *command]
    with _Told() as told:
        child = subprocess.Popen(
            wrapped,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if captured else None,
            pass_fds=() if held is None else (held,),
            text=True,
        )
        told.of(child)
        said, _ = child.communicate()
    code = child.returncode
    return (128 - code if code < 0 else code), said or ""


class _Told:
    """Signals that are ours are passed on: in a container we are process 1, which no default handler ends."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._stopping = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._end) for number in SIGNALS}
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._kill)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def of(self, child: "subprocess.Popen[str]") -> None:
        """This is the child; one that we were told to end before it was there is ended now."""
        self._child = child
        if self._stopping:
            child.terminate()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._child is not None:
            self._child.terminate()
        signal.setitimer(signal.ITIMER_REAL, STOP_WITHIN_S)

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        if self._child is not None:
            self._child.kill()
