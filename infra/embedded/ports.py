"""Ports of 127.0.0.1 for the services that we start."""

import fcntl
import os
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra.private import OWNER_ALONE

HOST: Final = "127.0.0.1"
NEIGHBOURS: Final = 100
BELOW_EPHEMERAL: Final = range(20_000, 32_000)
"""Where no outgoing connection of ours takes a port between our look and the service's bind (Linux begins at 32768)."""
_taken: dict[int, int] = {}
"""Port to the lock that says so to this user's other processes; held until this one ends."""


def free_port(wanted: int = 0) -> int:
    """`wanted` if nothing listens there, else the next free one above it; any free one for 0.

    It is kept for as long as this process lives: who starts later finds it taken, also while the service is being started again.
    """
    candidates = range(wanted, min(wanted + NEIGHBOURS, 65_536)) if wanted else _anywhere()
    for port in candidates:
        if _is_free(port) and _take(port):
            return port
    raise OSError(f"no free port on {HOST} among {candidates[0]} to {candidates[-1]}: stop something, or name another")


def _anywhere() -> list[int]:
    return random.Random().sample(BELOW_EPHEMERAL, NEIGHBOURS)  # noqa: S311 (tests side by side must not meet)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _take(port: int) -> bool:
    """False where another process of this user keeps it; where no lock can be made, a port that is free is ours."""
    if port in _taken:
        return True
    folder = Path(tempfile.gettempdir(), f"tickwire-{os.getuid()}")
    try:
        folder.mkdir(mode=OWNER_ALONE, exist_ok=True)
        lock = os.open(folder / f"port-{port}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return True
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _taken[port] = lock
        return True
    os.close(lock)
    return False
