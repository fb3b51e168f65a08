"""`tickwire watch`: a live terminal table from the feed and the REST API."""

import json
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx2
import msgspec
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from infra.access.dev_key import own_headers
from infra.cli.plain import plain
from infra.instance import attached
from infra.settings import Settings
from schemas.errors import BackendError, InputError

SHOWN: Final = ("return_ewm_5s", "volatility_60s", "flow_imbalance_60s", "book_imbalance", "spread", "rsi_14m")
REFRESH_S: Final = 0.25
FEATURES_EVERY_S: Final = 1.0
ANSWER_WITHIN_S: Final = 10.0


@dataclass
class Screen:
    """What was heard so far."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    features: dict[str, dict[str, float | None]] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=5_000))
    heard: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=50_000))
    """When an update came, and how many it stands for: itself and those that were skipped for it."""
    lag: int | None = None
    gaps: int = 0

    def hear(self, frame: list[dict[str, Any]]) -> None:
        """One frame of the feed: a list of messages."""
        now = time.time()
        for message in frame:
            kind = message["type"]
            if kind == "gap":
                self.gaps += 1
            elif kind in {"snapshot", "update"} and message["channel"] == "predictions":
                row = message["data"]
                self.rows[row["symbol"]] = row
                if kind == "update":
                    self.heard.append((now, 1 + message.get("conflated", 0)))
                    self.latencies.append(now - row["ts_ingest"] / 1e9)

    def rate(self) -> float:
        """Updates per second over the last five."""
        now = time.time()
        while self.heard and self.heard[0][0] < now - 5:
            self.heard.popleft()
        return sum(count for _, count in self.heard) / 5

    def p99_ms(self) -> float | None:
        """Event to here, of the last updates."""
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return 1e3 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]

    def summary(self) -> dict[str, Any]:
        """For machines."""
        return {
            "rate": round(self.rate(), 1), "lag": self.lag, "p99_ms": self.p99_ms(), "gaps": self.gaps,
            "symbols": {
                name: {
                    "price": row["price"], "online": row["online"], "onnx": row["onnx"], "p_up": row["p_up"],
                    "features": self.features.get(name, {}),
                }
                for name, row in sorted(self.rows.items())
            },
        }  # fmt: skip

    def table(self) -> Grid:
        """For people."""
        p99, lag = self.p99_ms(), "?" if self.lag is None else self.lag
        late = "?" if p99 is None else f"{p99:.0f} ms"
        told = f"{self.rate():,.0f} updates/s · lag {lag} · p99 {late} · gaps {self.gaps}"
        grid = Grid(title="tickwire", caption=told, header_style="bold", expand=False)
        grid.add_column("symbol")
        for name in ("price", "online", "onnx", *SHOWN):
            grid.add_column(name, justify="right")
        for name, row in sorted(self.rows.items()):
            known = self.features.get(name, {})
            grid.add_row(
                name, _number(row["price"], 2), _score(row["online"]), _score(row["onnx"]),
                *(_number(known.get(each), 5) for each in SHOWN),
            )  # fmt: skip
        return grid


def _number(value: float | None, digits: int) -> str:
    return "·" if value is None else f"{value:,.{digits}f}"


def _score(value: float | None) -> Text:
    if value is None:
        return Text("·")
    colour = "green" if value > 0.5 else "red" if value < 0.5 else "white"
    return Text(f"{value:.4f}", style=colour)


def run(settings: Settings, symbols: str, *, seconds: float, as_json: bool) -> None:
    """Follow the feed until the time is over or Ctrl-C. Raises: `InputError` where nothing of what was asked for is there."""
    settings = attached(settings)
    base, shown = settings.api.address, own_headers(settings)
    wanted = [each.strip() for each in symbols.split(",") if each.strip()]
    try:
        with (
            connect(f"ws://{base}/v1/stream", open_timeout=10, additional_headers=shown) as feed,
            httpx2.Client(base_url=f"http://{base}", timeout=5, headers=shown) as rest,
        ):
            screen = Screen()
            _subscribe(feed, screen, wanted)
            _follow(feed, rest, screen, until=time.time() + seconds if seconds else float("inf"), as_json=as_json)
    except InvalidStatus as error:
        raise BackendError(
            f"the API at {base} let us not in: {error}; set TICKWIRE_API__KEY to a key that `tickwire keys create` made"
        ) from error
    except BrokenPipeError:  # nobody reads what is printed: the command line ends quietly
        raise
    except (OSError, WebSocketException, httpx2.TransportError) as error:
        raise BackendError(f"expected the API at {base}, found: {error}; is `tickwire up` running?") from error
    except KeyboardInterrupt:
        pass


def _subscribe(feed: ClientConnection, screen: Screen, wanted: list[str]) -> None:
    """Ask for these symbols; what is not taken is told."""
    asked = {"op": "subscribe", "id": 1, "channels": ["predictions"], "symbols": wanted, "snapshot": True}
    feed.send(json.dumps(asked))
    while True:
        frame = msgspec.json.decode(feed.recv(timeout=ANSWER_WITHIN_S))
        screen.hear(frame)
        for message in frame:
            if message["type"] == "error":
                raise InputError(f"the feed does not take the subscription: {message['message']}")
            if message["type"] == "ack":
                _tell_rejected(message)
                return


def _tell_rejected(ack: dict[str, Any]) -> None:
    """Symbols, or the whole channel, that the feed has not taken. Raises: `InputError` where it has taken nothing."""
    told = ", ".join(f"{each.get('symbol') or each['channel']} ({each['code']})" for each in ack["rejected"])
    if not ack["subscriptions"].get("predictions"):
        raise InputError(
            f"the feed has nothing of what was asked for: {told}; GET /v1/symbols has the symbols there are"
        )
    if told:
        print(f"not watched: {told}", file=sys.stderr)


def _follow(feed: ClientConnection, rest: httpx2.Client, screen: Screen, *, until: float, as_json: bool) -> None:
    shown, told = 0.0, not as_json
    console = plain(stderr=as_json)
    with (
        closing(Asker(rest, screen)) as asker,
        Live(
            screen.table(), console=console, refresh_per_second=8, screen=console.is_terminal, transient=as_json
        ) as live,
    ):
        while time.time() < until:
            with suppress(TimeoutError):
                screen.hear(msgspec.json.decode(feed.recv(timeout=REFRESH_S)))
            if asker.answered() and as_json:
                told = True
                _print(screen)
            if not as_json and time.time() - shown > REFRESH_S:
                shown = time.time()
                live.update(screen.table())
    if not told:  # the time was over before the first answer
        _print(screen)


def _print(screen: Screen) -> None:
    print(json.dumps(screen.summary()), file=sys.stdout, flush=True)


class Asker:
    """Asks for lag and features by REST, in a thread: frames of the feed would wait for the answers."""

    def __init__(self, rest: httpx2.Client, screen: Screen) -> None:
        self._rest, self._screen = rest, screen
        self._thread, self._over = ThreadPoolExecutor(1), threading.Event()
        self._asked = 0.0
        self._asking: Future[None] | None = None

    def answered(self) -> bool:
        """Whether everything was answered since the last call; asks again when it is time. Raises what asking met."""
        if self._asking is None:
            if time.time() - self._asked > FEATURES_EVERY_S:
                self._asked, self._asking = time.time(), self._thread.submit(self._ask)
            return False
        if not self._asking.done():
            return False
        self._asking.result()
        self._asking = None
        return True

    def close(self) -> None:
        """Ask nothing more."""
        self._over.set()
        self._thread.shutdown()

    def _ask(self) -> None:
        self._screen.lag = self._rest.get("/readyz").json().get("lag")  # a problem has none
        for name in list(self._screen.rows):
            if self._over.is_set():
                return
            answer = self._rest.get(f"/v1/features/{quote(name, safe='')}")
            if answer.status_code == httpx2.codes.OK:
                self._screen.features[name] = answer.json()["features"]
