"""Ports of 127.0.0.1 for the services that we start."""

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
NEIGHBOURS: Final = 100
BELOW_EPHEMERAL: Final = range(20_000, 32_000)
"""Where no outgoing connection of ours takes a port between our look and the service's bind (Linux begins at 32768)."""


def free_port(wanted: int = 0) -> int:
    """`wanted` if nothing listens there, else the next free one above it; any free one for 0."""
    candidates = range(wanted, min(wanted + NEIGHBOURS, 65_536)) if wanted else _anywhere()
    for port in candidates:
        if _is_free(port):
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
