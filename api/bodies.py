"""Reading a request's body: no larger than its route says, and not slower than anybody has to be."""

import asyncio
from typing import Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from api.asked import invalid

BODY_WITHIN_S: Final = 10.0
T = TypeVar("T")


class BodyRefused(Exception):
    """A body that did not come whole; `status` for protocols that tell these cases apart."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


async def whole_body(request: Request, most: int) -> bytes:
    """All of it, `most` bytes. Raises: `BodyRefused` where it is too large (413), too slow (408), or the client left (400)."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise BodyRefused(413, f"expected at most {most} bytes")
    except TimeoutError as error:
        raise BodyRefused(408, f"it did not come within {BODY_WITHIN_S:g} s") from error
    except ClientDisconnect as error:
        raise BodyRefused(400, "the client left before it was here") from error
    return bytes(body)


async def body_of(request: Request, most: int) -> bytes:
    """The same. Raises: `Problem` invalid-request."""
    try:
        return await whole_body(request, most)
    except BodyRefused as error:
        raise invalid("body", str(error)) from error


async def json_of(request: Request, kind: type[T], most: int) -> tuple[bytes, T]:
    """The body, and what it says. Raises: `Problem` that says what was expected, and where."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != "application/json":  # a page of another origin may send anything else without asking first
        raise invalid("header.content-type", f"expected application/json, was {sent[:60] or 'nothing'}")
    body = await body_of(request, most)
    try:
        return body, msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid("body", str(error)) from error
