"""The embedded Kafka broker: noida-db's Kafka service alone, on loopback, its data beneath a folder.

A clean stop (SIGTERM after its writers have stopped) keeps everything;
SIGKILL loses what it acknowledged last. So it starts first and stops last; what a crash took is found by `log_keeper`.
"""

import importlib.util
import os
import socket
from datetime import timedelta
from pathlib import Path
from struct import Struct
from typing import Final

from infra.embedded.ports import HOST
from infra.embedded.service import Service, ServiceFailed
from infra.private import private_folder

NAME: Final = "kafka"
STOP_AFTER: Final = timedelta(seconds=60)
"""It writes all it holds into one file when it stops."""
PROBE_TIMEOUT_S: Final = 1.0
_API_VERSIONS: Final = Struct(">ihhih").pack(10, 18, 0, 1, -1)
"""A Kafka request: 10 bytes follow, ApiVersions, version 0, correlation id 1, no client id."""


def broker(data: Path, port: int) -> Service:
    """The broker as a service: `data` is made if missing, `port` is on 127.0.0.1."""
    private_folder(data)
    command = [
        str(_binary()), "start", "--data-dir", str(data), "--host", HOST, "--only", "kafka", "--kafka-port", str(port),
    ]  # fmt: skip
    return Service(
        NAME,
        command,
        lambda: speaks_kafka(port),
        stop_after=STOP_AFTER,
        cwd=data,
        env=_environment(),
        ports={NAME: port},
    )


def speaks_kafka(port: int) -> bool:
    """Whether a broker on this port answers a Kafka request."""
    try:
        with socket.create_connection((HOST, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(_API_VERSIONS)
            reply = connection.recv(8)
    except OSError:
        return False
    return reply[4:8] == _API_VERSIONS[8:12]


def _binary() -> Path:
    found = importlib.util.find_spec("noida_db")
    if found is None or found.origin is None:
        raise ServiceFailed(
            "the embedded broker is not installed: pip install 'tickwire[embedded]', or set a Kafka address"
        )
    return Path(found.origin).with_name("noida-db")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
