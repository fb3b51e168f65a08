"""The process that owns a ClickHouse data path: `python -m infra.embedded.clickhouse --path DIR --port N`."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra.allocator import give_back, tidy
from infra.embedded.chdb_engine import Engine
from infra.embedded.clickhouse_http import HOST, ClickHouseServer
from infra.embedded.http_connection import HttpLimits
from infra.embedded.sandbox import confine
from infra.private import private_folder
from schemas.errors import BackendError

MIB: Final = 1 << 20
STOP_WITHIN_S: Final = 10.0
PROBE_TIMEOUT_S: Final = 1.0
ALLOCATOR: Final = "prof:false,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,tcache_max:1024"
"""The engine's own (jemalloc): what merges have freed is given back although nobody allocates, nothing is sampled, and no
thread keeps blocks beyond 1 KiB (63 of them held 20 MiB)."""

log = logging.getLogger("tickwire.clickhouse")


def command(path: Path, port: int) -> list[str]:
    """The command line of this process for a data path and a port."""
    return [sys.executable, "-P", "-m", "infra.embedded.clickhouse", "--path", str(path), "--port", str(port)]


def answers(port: int) -> bool:
    """Whether the server on this port says that it is well (`/ping`)."""
    try:
        with socket.create_connection((HOST, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"GET /ping HTTP/1.0\r\nHost: localhost\r\n\r\n")
            reply = b""
            while piece := connection.recv(4096):
                reply += piece
    except OSError:
        return False
    return reply.startswith(b"HTTP/1.1 200") and reply.endswith(b"Ok.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    give_back()
    options = _parsed(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.environ.update(TMPDIR=str(options.path.resolve()), TZ="UTC", JE_MALLOC_CONF=ALLOCATOR)
    private_folder(options.path)
    os.chdir(options.path)  # the engine takes a name as an address, in which ? and & mean something else
    options.path = Path.cwd()
    if not options.allow_outside:
        log.info(confine([options.path], listen_on=[options.port]))
    tidy()
    try:
        memory = options.memory_mib * MIB if options.memory_mib else None
        engine = Engine(options.path, memory=memory, allow_outside=options.allow_outside)
    except BackendError as error:
        log.error("%s", error)
        return 1
    try:
        server = ClickHouseServer(engine, options.port, HttpLimits(body=options.max_body_mib * MIB))
    except OSError as error:
        log.error("port %d of %s cannot be taken: %s; choose another by --port", options.port, HOST, error.strerror)
        engine.close()
        return 1
    _serve_until_told(server)
    engine.close()
    return 0


def _serve_until_told(server: ClickHouseServer) -> None:
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    threading.Thread(target=server.serve_forever, args=(0.05,), name="accept", daemon=True).start()
    log.info("ClickHouse %s at http://%s:%d", server.engine.version, *server.server_address[:2])
    told.wait()
    if not server.stop(within_s=STOP_WITHIN_S):
        log.warning("some requests could not be ended within %g s after the signal", 2 * STOP_WITHIN_S)
        os._exit(1)  # the engine must not be closed under them


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.embedded.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="folder of the data; made if missing")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument(
        "--memory-mib", type=int, default=0, help="what the engine may take (default: 40%% of the machine)"
    )
    parser.add_argument(
        "--max-body-mib", type=int, default=256, help="what one request may bring (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="let statements reach files, programs and other machines"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
