"""ETags: whoever has an answer already is told that it has not changed, instead of being given it again."""

from hashlib import blake2b
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX: Final = "/v1/"
CACHED: Final = "private, no-cache"
"""It may be kept by whoever asked, who asks again before it is used."""
_DROPPED: Final = ("content-length", "content-type")


class Revalidated:
    """Pure ASGI middleware: good answers to GET under `/v1/` get an ETag of their bytes, and 304 where the client has them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match", "")
        start: Message = {}

        async def tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                if message["status"] == 200:
                    return  # its body decides
            elif start["status"] == 200 and not start.get("sent"):
                start["sent"] = True
                message = _tagged(start, message, known)
                await send({name: value for name, value in start.items() if name != "sent"})
            await send(message)

        await self._app(scope, receive, tagged)


def _tagged(start: Message, body: Message, known: str) -> Message:
    """Put the ETag into `start`; the body to be sent, which is empty where the client knows it."""
    headers = MutableHeaders(scope=start)
    if body.get("more_body") or "no-store" in headers.get("cache-control", ""):
        return body
    etag = f'"{blake2b(body.get("body", b""), digest_size=16).hexdigest()}"'
    headers["etag"] = etag
    headers.setdefault("cache-control", CACHED)
    if not _knows(known, etag):
        return body
    start["status"] = 304
    for name in _DROPPED:
        if name in headers:
            del headers[name]
    return {"type": "http.response.body", "body": b""}


def _knows(known: str, etag: str) -> bool:
    """Weakly, as RFC 9110 (13.1.2) wants it for reads."""
    return known.strip() == "*" or any(one.strip().removeprefix("W/") == etag for one in known.split(","))
