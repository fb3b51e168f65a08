"""Small programs for a supervisor to start."""

import socket
import sys
from datetime import timedelta

from infra.embedded.instance import identity
from infra.embedded.service import Service

LISTENS = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening on", sys.argv[1], flush=True)
while True:
    time.sleep(60)
"""


STUBBORN = LISTENS.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")


DIES = "import sys; print('no reason given', flush=True); sys.exit(3)"


HAS_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def service(
    name: str, port: int, script: str = LISTENS, *, stop_after_s: float = 5, ready_within_s: float = 20
) -> Service:
    return Service(
        name,
        [sys.executable, "-S", "-c", script, str(port)],
        lambda: listens(port),
        stop_after=timedelta(seconds=stop_after_s),
        ready_within=timedelta(seconds=ready_within_s),
        ports={"tcp": port},
    )


def alive(pid: int) -> bool:
    return identity(pid) != ""
