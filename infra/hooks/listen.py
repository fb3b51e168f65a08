"""A receiver as receivers should be: verifies every signature, keeps ids, answers 2xx only to what it has taken."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from infra.hooks.channel import Message
from infra.hooks.messages import in_words

MAX_BODY: Final = 1_000_000
KEPT_IDS: Final = 100_000
READ_WITHIN_S: Final = 10


def verified(keys: Sequence[str], headers: dict[str, str], body: bytes) -> bool:
    """Whether one of the keys signed these bytes within the last five minutes, by the package's own verifier."""
    for key in keys:
        try:
            Webhook(key).verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError):  # a malformed signature is a ValueError
            continue
        return True
    return False


class Listener:
    """Listens on 127.0.0.1 and tells each verified message once, by id."""

    def __init__(self, keys: Sequence[str], tell: Callable[[dict[str, Any]], None], *, port: int = 0) -> None:
        self._keys, self._tell = keys, tell
        self._turn = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def serve(self) -> None:
        """Until interrupted, or closed."""
        try:
            self._server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            pass
        finally:
            self._server.server_close()

    def close(self) -> None:
        """Let `serve` return."""
        self._server.shutdown()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """The status to answer with; a message that is new and verified has been told before."""
        if not verified(self._keys, headers, body):
            return 401
        name = headers["webhook-id"]
        with self._turn:
            if name not in self._seen:
                self._tell(_told(name, body))
                self._seen[name] = None
                if len(self._seen) > KEPT_IDS:
                    self._seen.popitem(last=False)
        return 204

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self.take

        class Handler(BaseHTTPRequestHandler):
            timeout = READ_WITHIN_S

            def do_POST(self) -> None:
                length = self.headers.get("content-length", "")
                if not (length.isascii() and length.isdigit() and int(length) <= MAX_BODY):
                    self.send_error(413)
                    return
                body = self.rfile.read(int(length))
                self.send_response(take({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """What matters is told elsewhere."""

        return Handler


def _told(name: str, body: bytes) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.json.decode(body)
    return {"id": name, "line": in_words(Message(name, said["type"], body)), **said}
