"""Reading a request's body: no larger than its route says, and not slower than anybody has to be."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from api.asked import invalid

BODY_WITHIN_S: Final = 10.0


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
