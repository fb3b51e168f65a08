"""Idempotency-Key: a request that is repeated, because its answer was lost, is not carried out twice.

As draft-ietf-httpapi-idempotency-key-header has it. An answer is kept for a day; an error is not kept, so that the request may
be repeated. What a kept answer would tell once only, a secret, is left out of it.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, Protocol

from fastapi import Request
from fastapi.responses import Response
from msgspec import Struct

from api.asked import invalid
from api.blocking import Blocking
from api.problems import Problem
from schemas.errors import StoreUnavailable

HEADER: Final = "idempotency-key"
REPLAYED: Final = "idempotency-replayed"
KEPT_S: Final = 86_400
RUNNING_S: Final = 120
"""A request that has not been answered by then has died with its process."""
_log = logging.getLogger("tickwire.api")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


class KeptAnswer(Struct, frozen=True, kw_only=True):
    """What became of the first request with a key; `status` is 0 while it runs."""

    request: str
    """Hash of its body."""
    status: int = 0
    body: bytes = b""


class OnceStore(Protocol):
    """Shared by all processes of the API. Raises: `StoreUnavailable`."""

    def claim(self, name: str, answer: KeptAnswer, within_s: float) -> KeptAnswer | None:
        """None where nobody had the name, who has it now for so long; else what is kept under it."""

    def keep(self, name: str, answer: KeptAnswer, within_s: float) -> None:
        """In place of the claim."""

    def release(self, name: str) -> None:
        """Forget the claim."""


class Once:
    """Carries out requests with a key once; those without one, as often as they come."""

    def __init__(self, store: OnceStore | None) -> None:
        self._store, self._blocking = store, Blocking()

    async def answer(
        self,
        request: Request,
        body: bytes,
        carry_out: Callable[[], Awaitable[Response]],
        keep: Callable[[bytes], bytes] = bytes,
    ) -> Response:
        """The answer, the first one's where there was one. `keep`: what is kept of its body. Raises: `Problem`."""
        key = request.headers.get(HEADER)
        if key is None or self._store is None:
            return await carry_out()
        if _KEY.fullmatch(key) is None:
            raise invalid("header.idempotency-key", "expected 1 to 255 visible ASCII characters")
        name = _name(request, key)
        asked = KeptAnswer(request=sha256(body).hexdigest())
        before = await self._blocking.call(self._store.claim, name, asked, RUNNING_S)
        if before is not None:
            return _again(before, asked)
        try:
            answer = await carry_out()
        except BaseException:
            await self._blocking.call(self._store.release, name)
            raise
        done = KeptAnswer(request=asked.request, status=answer.status_code, body=keep(bytes(answer.body)))
        try:
            await self._blocking.call(self._store.keep, name, done, KEPT_S)
        except StoreUnavailable as error:  # what was asked for is done, and whoever asked must hear so
            _log.warning("not kept for who asks again: %s", error)
        return answer


def _name(request: Request, key: str) -> str:
    """Of this caller, for this very request: keys of others are other keys."""
    parts = (str(request.state.caller), request.method, request.url.path, request.url.query, key)
    return sha256("\n".join(parts).encode()).hexdigest()


def _again(before: KeptAnswer, asked: KeptAnswer) -> Response:
    if before.request != asked.request:
        raise Problem("key-reused", "this Idempotency-Key came with another body before; take a new one")
    if not before.status:
        raise Problem("still-running", "the first request with this Idempotency-Key is not answered yet")
    return Response(before.body, before.status, {REPLAYED: "true"}, "application/json")
