"""A local server that speaks Coinbase Exchange's protocol, WebSocket and REST, from a script; and messages for it."""

import gzip
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

SHARED = Path(os.environ.get("TICKWIRE_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
CAPTURE = SHARED / "payloads" / "coinbase_exchange" / "cryptofeed_COINBASE.ws.28.0.txt.gz"
CONTROL = SHARED / "payloads" / "coinbase_exchange" / "control_messages.json"
BASE = "2024-05-01T12:00:{second:09.6f}Z"


def captured() -> list[bytes]:
    """The messages that the exchange sent in the recorded half minute."""
    with gzip.open(CAPTURE, "rt") as lines:
        return [line.partition(": ")[2].strip().encode() for line in lines if line[:1].isdigit() and ": {" in line]


def match(trade_id: int, *, product: str = "BTC-USD", second: float | None = None, last: bool = False) -> bytes:
    """A trade; one every 0.1 s by its number."""
    return json.dumps(
        {
            "type": "last_match" if last else "match",
            "product_id": product,
            "sequence": trade_id * 10,
            **_fields(trade_id, second),
        }
    ).encode()


def _fields(trade_id: int, second: float | None = None) -> dict[str, Any]:
    at = BASE.format(second=(trade_id % 500) / 10 if second is None else second)
    side = "sell" if trade_id % 2 else "buy"
    return {"trade_id": trade_id, "time": at, "price": f"{100 + trade_id % 7}.50", "size": "0.25", "side": side}


def ticker(sequence: int, *, product: str = "BTC-USD") -> bytes:
    return json.dumps(
        {
            "type": "ticker", "sequence": sequence, "product_id": product, "price": "100.5", "side": "buy",
            "time": BASE.format(second=sequence % 500 / 10), "trade_id": 1, "last_size": "1", "best_bid": "100.4",
            "best_bid_size": "3.5", "best_ask": "100.6", "best_ask_size": "0.25", "open_24h": "99",
        }
    ).encode()  # fmt: skip


def heartbeat(last_trade_id: int, second: float, *, product: str = "BTC-USD") -> bytes:
    return json.dumps(
        {
            "type": "heartbeat", "sequence": 7, "last_trade_id": last_trade_id, "product_id": product,
            "time": BASE.format(second=second),
        }
    ).encode()  # fmt: skip


def subscriptions(product: str = "BTC-USD") -> bytes:
    channels = [{"name": name, "product_ids": [product]} for name in ("matches", "ticker", "heartbeat")]
    return json.dumps({"type": "subscriptions", "channels": channels}).encode()


@dataclass
class Session:
    """What one connection gets to hear after its subscription, and what happens then."""

    frames: Sequence[bytes]
    then: Literal["stay", "drop"] = "stay"


@dataclass
class LocalExchange:
    """The script; the last session is repeated for every further connection."""

    sessions: Sequence[Session]
    history: dict[str, list[int]] = field(default_factory=dict)
    """Trade numbers that REST knows, by product."""
    failures: int = 0
    """So many REST requests are answered with 500 first."""
    page: int = 1_000
    hellos: list[dict[str, Any]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    ws_url: str = ""
    rest_url: str = ""
    _done: threading.Event = field(default_factory=threading.Event)

    def speak(self, socket: ServerConnection) -> None:
        try:
            self.hellos.append(json.loads(socket.recv(timeout=10)))
            session = self.sessions[min(len(self.hellos), len(self.sessions)) - 1]
            for frame in session.frames:
                socket.send(frame.decode(errors="replace") if frame[:1] == b"{" else frame)
            if session.then == "drop":
                socket.socket.close()  # no goodbye: the cable was pulled
                return
            self._done.wait(60)
        except (ConnectionClosed, OSError, TimeoutError):
            return

    def trades(self, path: str) -> tuple[int, bytes]:
        """Newest first, those older than the cursor `after`."""
        parts = urlsplit(path)
        self.requests[parts.path] += 1
        if parts.path == "/time":
            return 200, b'{"iso":"2024-05-01T12:00:00Z","epoch":1714564800}'
        known = self.history.get(parts.path.split("/")[2])
        if known is None:
            return 404, b'{"message":"NotFound"}'
        if self.failures > 0:
            self.failures -= 1
            return 500, b'{"message":"Internal server error"}'
        query = parse_qs(parts.query)
        after, limit = int(query.get("after", ["9" * 18])[0]), int(query["limit"][0])
        page = [each for each in sorted(known, reverse=True) if each < after][: min(limit, self.page)]
        return 200, json.dumps([_fields(each) for each in page]).encode()


@contextmanager
def running(exchange: LocalExchange) -> Iterator[LocalExchange]:
    """Both servers, on free ports of the loopback."""

    class Rest(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = exchange.trades(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serve(exchange.speak, "127.0.0.1", 0) as sockets, ThreadingHTTPServer(("127.0.0.1", 0), Rest) as rest:
        loops = (sockets.serve_forever, partial(rest.serve_forever, poll_interval=0.02))
        threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in threads:
            thread.start()
        exchange.ws_url = f"ws://127.0.0.1:{sockets.socket.getsockname()[1]}"
        exchange.rest_url = f"http://127.0.0.1:{rest.server_address[1]}"
        try:
            yield exchange
        finally:
            exchange._done.set()
            rest.shutdown()
            sockets.shutdown()
            for thread in threads:
                thread.join()
