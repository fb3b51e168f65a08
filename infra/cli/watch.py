"""`tickwire watch`: a live terminal table from the feed and the REST API."""

import json
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import msgspec
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from infra.access.dev_key import own_headers
from infra.cli.plain import plain
from infra.instance import attached
from infra.settings import Settings
from schemas.errors import BackendError

SHOWN: Final = ("return_ewm_5s", "volatility_60s", "flow_imbalance_60s", "book_imbalance", "spread", "rsi_14m")
REFRESH_S: Final = 0.25
FEATURES_EVERY_S: Final = 1.0


@dataclass
class Screen:
    """What was heard so far."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    features: dict[str, dict[str, float | None]] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=5_000))
    heard: deque[float] = field(default_factory=lambda: deque(maxlen=50_000))
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
                    self.heard.append(now)
                    self.latencies.append(now - row["ts_ingest"] / 1e9)

    def rate(self) -> float:
        """Updates per second over the last five."""
        now = time.time()
        while self.heard and self.heard[0] < now - 5:
            self.heard.popleft()
        return len(self.heard) / 5

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
    """Follow the feed until the time is over or Ctrl-C."""
    settings = attached(settings)
    base, shown = settings.api.address, own_headers(settings)
    try:
        with (
            connect(f"ws://{base}/v1/stream", open_timeout=10, additional_headers=shown) as feed,
            httpx2.Client(base_url=f"http://{base}", timeout=5, headers=shown) as rest,
        ):
            wanted = [each.strip() for each in symbols.split(",") if each.strip()]
            feed.send(
                json.dumps(
                    {"op": "subscribe", "id": 1, "channels": ["predictions"], "symbols": wanted, "snapshot": True}
                )
            )
            _follow(feed, rest, Screen(), until=time.time() + seconds if seconds else float("inf"), as_json=as_json)
    except InvalidStatus as error:
        raise BackendError(
            f"the API at {base} let us not in: {error}; set TICKWIRE_API__KEY to a key that `tickwire keys create` made"
        ) from error
    except (OSError, TimeoutError, ConnectionClosed, httpx2.TransportError) as error:
        raise BackendError(f"expected the API at {base}, found: {error}; is `tickwire up` running?") from error
    except KeyboardInterrupt:
        pass


def _follow(feed: ClientConnection, rest: httpx2.Client, screen: Screen, *, until: float, as_json: bool) -> None:
    asked = shown = 0.0
    console = plain(stderr=as_json)
    with Live(
        screen.table(), console=console, refresh_per_second=8, screen=console.is_terminal, transient=as_json
    ) as live:
        while time.time() < until:
            with suppress(TimeoutError):
                screen.hear(msgspec.json.decode(feed.recv(timeout=REFRESH_S)))
            if time.time() - asked > FEATURES_EVERY_S:
                asked = time.time()
                _ask(rest, screen)
                if as_json:
                    print(json.dumps(screen.summary()), file=sys.stdout, flush=True)
            if not as_json and time.time() - shown > REFRESH_S:
                shown = time.time()
                live.update(screen.table())


def _ask(rest: httpx2.Client, screen: Screen) -> None:
    screen.lag = rest.get("/readyz").json().get("lag")  # a problem has none
    for name in list(screen.rows):
        answer = rest.get(f"/v1/features/{name}")
        if answer.status_code == httpx2.codes.OK:
            screen.features[name] = answer.json()["features"]
