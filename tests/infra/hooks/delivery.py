"""The delivery process as a program, a receiver that keeps every id, and alerts on their topic."""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook

from infra.clock import WallClock
from infra.hooks.desk import Desk
from infra.kafka import create_topics
from infra.settings import Hooks, Kafka
from schemas.hooks import Endpoint, NewEndpoint
from schemas.rows import Alert
from schemas.topics import ALERTS
from tests.product.running import ROOT
from tests.services.processes import Program
from tests.streams.agents.broker import PARTITIONS, Broker

HOOKS = Hooks(loopback=True)


class Inbox:
    """Verifies with the package's own verifier and keeps every id, and when it first came."""

    def __init__(self, *, fail_every: int = 0) -> None:
        self.key = ""
        self.ids: Counter[str] = Counter()
        self.first_at: dict[str, float] = {}
        self.bad = self.posts = 0
        self.fail_every = fail_every
        self._turn = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """The status to answer with."""
        with self._turn:
            self.posts += 1
            try:
                Webhook(self.key).verify(body, headers)
            except Exception:
                self.bad += 1
                return 401
            self.ids[headers["webhook-id"]] += 1
            self.first_at.setdefault(headers["webhook-id"], time.time())
            return 503 if self.fail_every and self.posts % self.fail_every == 0 else 204

    @contextmanager
    def open(self) -> Iterator["Inbox"]:
        """Listening."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def _handler(inbox: Inbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # its sender was killed in the middle of it
            self.send_response(inbox.take({name.lower(): value for name, value in self.headers.items()}, body))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def environment(data: Path, broker: Broker, **more: str) -> dict[str, str]:
    """Of a delivery process; it needs neither ClickHouse nor Redis."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    return {
        **plain, "PYTHONPATH": str(ROOT), "TICKWIRE_DATA": str(data), "TICKWIRE_KAFKA__BOOTSTRAP": broker.address,
        "TICKWIRE_KAFKA__PARTITIONS": str(PARTITIONS), "TICKWIRE_CLICKHOUSE__URL": "http://127.0.0.1:9/",
        "TICKWIRE_REDIS__URL": "redis://127.0.0.1:9/", "TICKWIRE_HOOKS__LOOPBACK": "true",
        "TICKWIRE_HOOKS__RETRIES": "[1, 1, 1, 1, 1, 1, 1, 1, 1]", **more,
    }  # fmt: skip


def program(data: Path, broker: Broker, log: Path, *arguments: str, **more: str) -> Program:
    """`tickwire deliver`, not started."""
    return Program(
        [sys.executable, "-m", "infra.cli", "deliver", *arguments], log, env=environment(data, broker, **more)
    )


def add_endpoint(data: Path, inbox: Inbox, **fields: object) -> Endpoint:
    """An endpoint at the inbox, which knows its secret from now on."""
    endpoint, secret = Desk(data, HOOKS, WallClock()).add(NewEndpoint(target=inbox.url, **fields))  # type: ignore[arg-type]
    inbox.key = secret.secret
    return endpoint


def make_topics(broker: Broker) -> None:
    """All of ours."""
    create_topics(Kafka(bootstrap=broker.address, partitions=PARTITIONS))


def say(broker: Broker, alerts: Sequence[Alert]) -> None:
    """Write alerts to their topic, as the scoring flow does."""
    broker.produce(ALERTS.name, [(ALERTS.key(alert).encode(), ALERTS.encode(alert)) for alert in alerts])
