"""The WebSocket door: who may come in."""

from collections.abc import Callable, Collection
from functools import partial

from fastapi import APIRouter, WebSocket

from api.access.needs import PER_CHANNEL, needs
from api.feed.entry import Door
from api.feed.hub import FeedHub
from api.feed.messages import CLOSE_CODES
from api.feed.origins import is_allowed
from api.feed.session import Session
from api.feed.snapshots import Snapshots
from api.newest import Newest
from api.ports import Meter
from api.problems import Problem, render


def stream_routes(
    hub: FeedHub,
    newest: Newest,
    meter: Meter,
    now_ns: Callable[[], int],
    origins: Collection[str],
    door: Door,
) -> APIRouter:
    """`WS /v1/stream`; its protocol is written in `api.feed.messages`, who may come in in `api.feed.entry`."""
    router = APIRouter(prefix="/v1", dependencies=[needs(PER_CHANNEL)])
    snapshots = Snapshots(hub, newest)

    @router.websocket("/stream")
    async def stream(websocket: WebSocket) -> None:
        try:
            _check(websocket, hub, origins)
            guest = await door.greet(websocket)
        except Problem as problem:  # before accept: HTTP middleware does not run for WebSockets
            await websocket.send_denial_response(render(websocket.scope, problem))
            meter.count("tickwire_feed_closed_total", reason=problem.kind)
            return
        if isinstance(guest, int):
            meter.count("tickwire_feed_closed_total", reason=CLOSE_CODES[guest])
            return
        session = Session(websocket, hub, snapshots, meter, now_ns, guest.channels, partial(door.permits, guest))
        await door.serve(guest, session)

    return router


def _check(websocket: WebSocket, hub: FeedHub, origins: Collection[str]) -> None:
    refused = [origin for origin in websocket.headers.getlist("origin") if not is_allowed(origin, origins)]
    if refused:
        raise Problem("forbidden-origin", f"pages of {refused[0][:200]} may not open the feed")
    if hub.stopping or len(hub.clients) >= hub.limits.max_clients:
        raise Problem("too-many-clients", "the server is stopping" if hub.stopping else "every place is taken")
