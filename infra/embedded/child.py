"""Becomes the program it is given, after telling the kernel to stop that program when its supervisor dies.

Run by path, alone and without site packages, so that it costs some 15 ms: python -I -S child.py PARENT_PID [--nice=N] COMMAND…
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG; survives exec
NICE = "--nice="


def rank(nice: int) -> None:
    """Ask to go before others, or let them go first; where we may not, all stays as it was.

    Kernels with autogroups share the cores out by session, and look at a process's own value only within its session.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    with suppress(OSError), open("/proc/self/autogroup", "w") as session:
        session.write(str(nice))


def main() -> None:
    parent, *command = sys.argv[1:]
    if command[0].startswith(NICE):
        rank(int(command.pop(0).removeprefix(NICE)))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != int(parent):  # it died before the line above
            sys.exit(1)
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGINT,
    ):  # Python ignores or takes them; the program decides itself
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 (no shell)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
