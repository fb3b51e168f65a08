"""What every HTTP request gets: an id, safe headers, a measurement by route, and an answer even when we fail."""

import asyncio
import logging
import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.gate import rate_headers
from api.feed.origins import is_allowed
from api.ports import Meter
from api.problems import Problem, render

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SAFE_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_log = logging.getLogger("tickwire.api")


class RequestFrame:
    """Pure ASGI middleware around the whole application; WebSocket connections pass untouched."""

    def __init__(self, app: ASGIApp, meter: Meter, origins: Collection[str]) -> None:
        self._app, self._meter, self._origins = app, meter, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = asyncio.get_running_loop().time()
        status = 0
        request_id = scope.setdefault("state", {})["request_id"] = _request_id(scope)

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _put_headers(message, scope["state"])
            await send(message)

        try:
            await self._answer(scope, receive, framed)
        except Exception:
            _log.exception("request failed", extra={"request_id": request_id, "path": scope["path"]})
            if status:
                raise
            await render(scope, Problem("internal-error", "the request could not be answered"))(scope, receive, framed)
        finally:
            self._measure(scope, status, asyncio.get_running_loop().time() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever the application says, to pages that may ask us."""
        for origin in Headers(scope=scope).getlist("origin"):
            if not is_allowed(origin, self._origins):
                refusal = Problem("forbidden-origin", f"pages of {origin[:200]} may not ask us")
                await render(scope, refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        route = _template(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._meter.count("tickwire_http_requests_total", route=route, method=method, status=str(status))
        self._meter.observe("tickwire_http_request_seconds", seconds, route=route)


def _template(scope: Scope) -> str:
    """The route as it was declared; a path would give every symbol a series of its own."""
    route: Any = scope.get("route")
    return getattr(route, "path_format", None) or getattr(route, "path", None) or "unmatched"


def _request_id(scope: Scope) -> str:
    """The caller's, where it is harmless in a log, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _put_headers(message: Message, state: Mapping[str, Any]) -> None:
    headers = MutableHeaders(scope=message)
    headers["x-request-id"] = state["request_id"]
    allowance = state.get("allowance")
    for name, value in (SAFE_HEADERS | (rate_headers(allowance) if allowance is not None else {})).items():
        headers.setdefault(name, value)
