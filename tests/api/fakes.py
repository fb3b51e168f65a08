"""The services behind the API as lists, and the API on a real socket."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import websockets
from fastapi import FastAPI

from api.access.ports import Access
from api.app import create_app
from api.cursor import Place
from api.feed.hub import FeedHub
from api.feed.limits import FeedLimits
from api.listings import Listing, Stretch
from api.media import FileKind
from api.ports import HistoryFile, Ports
from api.server import FeedServer, listen
from infra.telemetry import Telemetry
from schemas.errors import DatabaseUnavailable, StoreUnavailable
from schemas.rows import Bar, FeedState, Latest, ScoreStatus
from tests.api.access.keys import EVERYBODY

NOW_NS = 1_795_357_800_000_000_000
MINUTE_NS = 60_000_000_000
ORIGIN = {"log_id": "sim-1", "src_partition": 1, "src_offset": 41}


def latest(symbol: str = "SIMA", **changes: Any) -> Latest:
    """A newest row."""
    fields: dict[str, Any] = {
        "symbol": symbol, "ts_event": NOW_NS - 5, "ts_ingest": NOW_NS - 3, "price": 101.255, "bid": 101.25,
        "ask": 101.26, "p_up": 0.53, "champion": "onnx", "online": 0.51, "onnx": 0.53, "features_id": "9f3c",
        "features": {"vwap_dev_60s": 0.0004, "rsi_14": None}, **ORIGIN, **changes,
    }  # fmt: skip
    return Latest(**fields)


def bar(start: int, symbol: str = "SIMA", kind: str = "1m", **changes: Any) -> Bar:
    """A closed minute bar."""
    fields: dict[str, Any] = {
        "symbol": symbol, "kind": kind, "start": start, "end": start + MINUTE_NS, "open": 1.0, "high": 3.0, "low": 0.5,
        "close": 2.0, "volume": 10.0, "value": 15.0, "n_trades": 4, "rev": 0, "reason": "closed", "late_n": 0,
        "gap_ms": 0, "partial": False, **ORIGIN, **changes,
    }  # fmt: skip
    return Bar(**fields)


def status(**changes: Any) -> ScoreStatus:
    """A healthy scoring process."""
    fields: dict[str, Any] = {
        "ts": NOW_NS - 1_000_000_000, "group": "score-0", "log_id": "sim-1", "partitions": (0, 1),
        "offsets": {"0": 10, "1": 42}, "lag": {"0": 3, "1": 4}, "provider": "CPUExecutionProvider",
        "models": {"online": "river-1", "onnx": "mlp-77ab"}, "features_id": "9f3c", "events": {"folded": 52},
        "uptime_s": 60.0, "feeds": (FeedState(venue="SIM", ts_event=NOW_NS, state="up"),), **changes,
    }  # fmt: skip
    return ScoreStatus(**fields)


@dataclass
class LatestList:
    """`LatestRows` from a list."""

    rows: list[Latest] = field(default_factory=list)
    down: bool = False

    def read(self, symbol: str) -> Latest | None:
        """The first row of the symbol."""
        self._answer()
        return next((row for row in self.rows if row.symbol == symbol), None)

    async def fetch(self, symbol: str) -> Latest | None:
        """The same."""
        return self.read(symbol)

    async def aclose(self) -> None:
        """Nothing is open."""

    def symbols(self) -> Sequence[str]:
        """All, sorted."""
        self._answer()
        return sorted(row.symbol for row in self.rows)

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailable("127.0.0.1:1: connection refused")


@dataclass
class HistoryList:
    """`History` from a list, written from the port's words."""

    kept: list[Any] = field(default_factory=list)
    """Rows of any table, as objects with its columns; `Bar` for bars, whatever has `of` for the others."""
    down: bool = False

    def rows(self, listing: Listing, symbol: str, stretch: Stretch) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
        """The rows of the stretch."""
        self.ping()
        found = sorted(
            (self._place(listing, row), row) for row in self.kept if self._is_in(listing, row, symbol, stretch)
        )
        names = stretch.columns or list(listing.types)
        return names, [tuple(getattr(row, name) for name in names) for _, row in found[: stretch.limit]]

    def file(self, listing: Listing, symbol: str, stretch: Stretch, kind: FileKind) -> HistoryFile:
        """As text, whatever the kind."""
        names, rows = self.rows(listing, symbol, replace(stretch, limit=stretch.limit + 1))
        kept = rows[: stretch.limit]
        lines = [",".join(names), *(",".join(map(str, row)) for row in kept)]
        last = dict(zip(names, kept[-1], strict=True)) if len(rows) > len(kept) else None
        place = None if last is None else (last[listing.time], *(last[name] for name in listing.key))
        return HistoryFile("\n".join([kind, *lines]).encode(), len(kept), place)

    def _place(self, listing: Listing, row: Any) -> Place:
        return (getattr(row, listing.time), *(getattr(row, name) for name in listing.key))

    def _is_in(self, listing: Listing, row: Any, symbol: str, stretch: Stretch) -> bool:
        of = "bars" if isinstance(row, Bar) else row.of
        return (
            (of, row.symbol) == (listing.name, symbol)
            and stretch.start <= getattr(row, listing.time) < stretch.end
            and (stretch.after is None or self._place(listing, row) > stretch.after)
            and all(getattr(row, name) == value for name, value in stretch.equal.items())
        )

    def ping(self) -> None:
        """Answer, or be down."""
        if self.down:
            raise DatabaseUnavailable("127.0.0.1:2: connection refused")


@dataclass
class StatusList:
    """`Status` from a list."""

    documents: list[ScoreStatus] = field(default_factory=lambda: [status()])
    down: bool = False

    def scores(self) -> Sequence[ScoreStatus]:
        """All of them."""
        if self.down:
            raise StoreUnavailable("127.0.0.1:1: connection refused")
        return self.documents


@dataclass
class World:
    """An API over lists."""

    latest: LatestList = field(default_factory=LatestList)
    history: HistoryList = field(default_factory=HistoryList)
    status: StatusList = field(default_factory=StatusList)
    telemetry: Telemetry = field(default_factory=Telemetry)
    limits: FeedLimits = field(default_factory=FeedLimits)
    origins: Sequence[str] = ()
    more: dict[str, Any] = field(default_factory=dict)
    """Of `Ports`, beside what every world has."""
    access: Access = EVERYBODY
    """Everybody may do everything, unless a test is about who may do what."""

    def __post_init__(self) -> None:
        self.hub = FeedHub(self.telemetry, lambda: NOW_NS, self.limits)

    def app(self) -> FastAPI:
        """The application over these lists."""
        ports = Ports(
            latest=self.latest, history=self.history, status=self.status, meter=self.telemetry,
            exposition=self.telemetry.exposition, now_ns=lambda: NOW_NS, access=self.access, **self.more,
        )  # fmt: skip
        return create_app(ports, self.hub, version="0.1.0", origins=self.origins)


def world(*rows: Latest, limits: FeedLimits | None = None, **changes: Any) -> World:
    """A world whose newest rows are these. `changes`: of `FeedLimits`."""
    return World(latest=LatestList(list(rows)), limits=replace(limits or FeedLimits(), **changes))


@contextmanager
def serving(of: World) -> Iterator[tuple[str, FeedServer]]:
    """The world's API on a free port: its address without a scheme, and the server."""
    listener = listen("127.0.0.1", 0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    server = FeedServer(of.app(), of.hub)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api")
    thread.start()
    try:
        yield address, server
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


class FeedClient:
    """A test's end of the feed: messages one by one out of the frames."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self._waiting: list[dict[str, Any]] = []

    async def say(self, **op: Any) -> None:
        """Send one op."""
        await self.socket.send(msgspec.json.encode(op).decode())

    async def next(self, *, heartbeats: bool = False) -> dict[str, Any]:
        """The next message; heartbeats only where they are wanted."""
        while True:
            while not self._waiting:
                async with asyncio.timeout(10):
                    self._waiting = msgspec.json.decode(await self.socket.recv())
            message = self._waiting.pop(0)
            if heartbeats or message["type"] != "heartbeat":
                return message

    async def subscribe(self, *channels: str, symbols: Sequence[str] = ("*",), **more: Any) -> dict[str, Any]:
        """Subscribe and return the ack; there must be nothing before it."""
        await self.say(op="subscribe", id=7, channels=channels, symbols=symbols, **more)
        return await self.next()


@asynccontextmanager
async def client_of(address: str, **options: Any) -> AsyncIterator[FeedClient]:
    """A connected client that has been welcomed."""
    async with websockets.connect(f"ws://{address}/v1/stream", compression=None, **options) as socket:
        client = FeedClient(socket)
        assert (await client.next())["type"] == "welcome"
        yield client
