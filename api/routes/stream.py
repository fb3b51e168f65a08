"""The WebSocket door: who may come in."""

from collections.abc import Callable, Collection

from fastapi import APIRouter, WebSocket

from api.feed.hub import FeedHub
from api.feed.origins import is_allowed
from api.feed.session import Session
from api.feed.snapshots import Snapshots
from api.feed.views import SUBPROTOCOLS
from api.newest import Newest
from api.ports import Meter
from api.problems import Problem, render


def stream_routes(
    hub: FeedHub, newest: Newest, meter: Meter, now_ns: Callable[[], int], origins: Collection[str]
) -> APIRouter:
    """`WS /v1/stream`; its protocol is written in `api.feed.messages`."""
    router = APIRouter(prefix="/v1")
    snapshots = Snapshots(hub, newest)

    @router.websocket("/stream")
    async def stream(websocket: WebSocket) -> None:
        problem = _refusal(websocket, hub, origins)
        if problem is not None:  # before accept: HTTP middleware does not run for WebSockets
            await websocket.send_denial_response(render(websocket.scope, problem))
            meter.count("tickwire_feed_closed_total", reason=problem.kind)
            return
        await websocket.accept(spoken(websocket))
        await Session(websocket, hub, snapshots, meter, now_ns).run()

    return router


def spoken(websocket: WebSocket) -> str | None:
    """The first of our subprotocols that the client offers; remembered in the scope, where the session looks."""
    offered = websocket.scope.get("subprotocols", [])
    chosen = next((name for name in offered if name in SUBPROTOCOLS), None)
    websocket.scope["subprotocol"] = chosen
    return chosen


def _refusal(websocket: WebSocket, hub: FeedHub, origins: Collection[str]) -> Problem | None:
    refused = [origin for origin in websocket.headers.getlist("origin") if not is_allowed(origin, origins)]
    if refused:
        return Problem("forbidden-origin", f"pages of {refused[0][:200]} may not open the feed")
    if hub.stopping or len(hub.clients) >= hub.limits.max_clients:
        return Problem("too-many-clients", "the server is stopping" if hub.stopping else "every place is taken")
    return None
