"""Where alerts are delivered to, and what became of each delivery.

Every change wants `Content-Type: application/json`, also without a body: a page of another origin cannot send that unasked.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from api.access.needs import needs
from api.blocking import Blocking
from api.bodies import body_of
from api.cursor import number_of, to_cursor
from api.hook_answers import (
    AddedEndpoint,
    AlertDeliveries,
    AlertDelivery,
    AlertDeliveryDetails,
    AlertEndpoint,
    AlertEndpoints,
    EndpointSecret,
    Queued,
    readable,
    readable_details,
)
from api.once import Once
from api.openapi import answered
from api.ports import AlertHooks
from api.problems import FieldError, Problem
from api.times import from_rfc3339
from schemas.errors import TargetRefused, UnknownEndpoint
from schemas.hooks import NewEndpoint

READS: Final = (needs("alerts:read"),)
WRITES: Final = (needs("alerts:write"),)
T = TypeVar("T")
MAX_BODY: Final = 32_768
NO_STORE: Final = {"cache-control": "no-store"}
Id = Annotated[str, Path(max_length=64, examples=["ep_0123456789abcdef"])]
DeliveryId = Annotated[int, Path(ge=1, le=2**62)]
Overlap = Annotated[float, Query(ge=0, le=720, description="So long the secret before goes on signing")]
Limit = Annotated[int, Query(ge=1, le=1_000)]
CursorText = Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before")]
Since = Annotated[str | None, Query(max_length=40, description="RFC 3339; only what was made since then")]
_ASKED: Final = ("unknown-endpoint", "invalid-request", "backend-unavailable")
_CHANGED: Final = (*_ASKED, "unsupported-media-type")
_ONCE: Final = (*_CHANGED, "still-running", "key-reused")
_BODY: Final[Mapping[str, Any]] = {
    "requestBody": {
        "required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewEndpoint"}}}
    }
}  # fmt: skip


def hook_routes(hooks: AlertHooks, once: Once) -> APIRouter:
    """`/v1/alerts/endpoints…`, `/v1/alerts/deliveries…`."""
    router = APIRouter(prefix="/v1/alerts", tags=["alerts"])
    blocking = _Asked(once)
    _add_endpoint_routes(router, hooks, blocking)
    _add_secret_routes(router, hooks, blocking)
    _add_delivery_routes(router, hooks, blocking)
    _add_replay_routes(router, hooks, blocking)
    return router


def _add_endpoint_routes(router: APIRouter, hooks: AlertHooks, asked: "_Asked") -> None:
    @router.get(
        "/endpoints", operation_id="listAlertEndpoints", dependencies=READS,
        summary="Where alerts are delivered to",
        responses=answered(AlertEndpoints, "All of them", "backend-unavailable"),
    )  # fmt: skip
    async def endpoints() -> Response:
        found = await asked.call(hooks.endpoints)
        return _json(AlertEndpoints(data=[readable(AlertEndpoint, each) for each in found]))

    added = answered(AddedEndpoint, "The endpoint, and its secret: this once", *_ONCE)
    added[201] = added.pop(200)

    @router.post(
        "/endpoints", operation_id="addAlertEndpoint", dependencies=WRITES,
        summary="Deliver alerts to one more receiver", status_code=201,
        responses=added, openapi_extra=dict(_BODY),
    )  # fmt: skip
    async def add(request: Request) -> Response:
        body = await _body(request)
        wanted = _decoded(body)

        async def carried_out() -> Response:
            endpoint, secret = await asked.call(hooks.add, wanted)
            return _json(AddedEndpoint(endpoint=readable(AlertEndpoint, endpoint), secret=secret.secret), 201)

        return await asked.once.answer(request, body, carried_out, _without_secret)

    removed = answered(Queued, "It is forgotten with its deliveries", *_ASKED)
    removed[204] = {"description": removed.pop(200)["description"]}

    @router.delete(
        "/endpoints/{endpoint}", operation_id="removeAlertEndpoint", dependencies=WRITES,
        summary="Forget a receiver", status_code=204,
        responses=removed,
    )  # fmt: skip
    async def remove(endpoint: Id) -> Response:
        await asked.call(hooks.remove, endpoint)
        return Response(status_code=204)


def _add_secret_routes(router: APIRouter, hooks: AlertHooks, asked: "_Asked") -> None:
    @router.post(
        "/endpoints/{endpoint}/rotate", operation_id="rotateAlertSecret", dependencies=WRITES,
        summary="A new secret for a receiver",
        responses=answered(EndpointSecret, "The new secret: this once", *_ONCE),
    )  # fmt: skip
    async def rotate(request: Request, endpoint: Id, overlap_hours: Overlap = 24) -> Response:
        async def carried_out() -> Response:
            secret = await asked.call(hooks.rotate, endpoint, timedelta(hours=overlap_hours))
            return _json(readable(EndpointSecret, secret))

        return await asked.once.answer(request, await _body(request), carried_out, _without_secret)

    @router.post(
        "/endpoints/{endpoint}/enable", operation_id="enableAlertEndpoint", dependencies=WRITES,
        summary="Use a disabled receiver again",
        responses=answered(AlertEndpoints, "All endpoints as they are now", *_CHANGED),
    )  # fmt: skip
    async def enable(request: Request, endpoint: Id) -> Response:
        await _body(request)
        await asked.call(hooks.enable, endpoint)
        found = await asked.call(hooks.endpoints)
        return _json(AlertEndpoints(data=[readable(AlertEndpoint, each) for each in found]))


def _add_delivery_routes(router: APIRouter, hooks: AlertHooks, asked: "_Asked") -> None:
    @router.get(
        "/deliveries", operation_id="listAlertDeliveries", dependencies=READS,
        summary="What became of each alert, the newest first",
        responses=answered(AlertDeliveries, "A page", "invalid-request", "backend-unavailable"),
    )  # fmt: skip
    async def deliveries(
        endpoint: Annotated[str, Query(max_length=64)] = "",
        state: Literal["", "pending", "sent", "dead"] = "",
        limit: Limit = 100,
        cursor: CursorText = None,
    ) -> Response:
        before = None if cursor is None else _checked("query.cursor", number_of, cursor)
        found = await asked.call(hooks.deliveries, endpoint, state, before, limit + 1)
        page, more = found[:limit], len(found) > limit
        rows = [readable(AlertDelivery, each) for each in page]
        return _json(AlertDeliveries(data=rows, next_cursor=to_cursor((page[-1].id,)) if more else None))

    @router.get(
        "/deliveries/{delivery}", operation_id="getAlertDelivery", dependencies=READS,
        summary="A delivery with its body and attempts",
        responses=answered(AlertDeliveryDetails, "All that is known of it", *_ASKED),
    )  # fmt: skip
    async def details(delivery: DeliveryId) -> Response:
        return _json(readable_details(await asked.call(hooks.delivery, delivery)))


def _add_replay_routes(router: APIRouter, hooks: AlertHooks, asked: "_Asked") -> None:
    queued = answered(Queued, "It is in the outbox", *_ONCE)

    @router.post(
        "/endpoints/{endpoint}/ping",
        operation_id="pingAlertEndpoint",
        dependencies=WRITES,
        summary="Send a test",
        responses=queued,
    )
    async def ping(request: Request, endpoint: Id) -> Response:
        async def carried_out() -> Response:
            return _json(Queued(deliveries=1, delivery=await asked.call(hooks.ping, endpoint)))

        return await asked.once.answer(request, await _body(request), carried_out)

    @router.post(
        "/deliveries/{delivery}/replay", operation_id="replayAlertDelivery", dependencies=WRITES,
        summary="Deliver one again",
        responses=queued,
    )  # fmt: skip
    async def replay(request: Request, delivery: DeliveryId) -> Response:
        async def carried_out() -> Response:
            await asked.call(hooks.replay, delivery)
            return _json(Queued(deliveries=1, delivery=delivery))

        return await asked.once.answer(request, await _body(request), carried_out)

    @router.post(
        "/endpoints/{endpoint}/replay", operation_id="replayAlertDeliveries", dependencies=WRITES,
        responses=queued,
        summary="Deliver the dead letters of a receiver again, or everything",
    )  # fmt: skip
    async def replay_all(request: Request, endpoint: Id, since: Since = None, every: bool = False) -> Response:
        from_ns = 0 if since is None else _checked("query.since", from_rfc3339, since)

        async def carried_out() -> Response:
            count = await asked.call(lambda: hooks.replay_all(endpoint, from_ns, every=every))
            return _json(Queued(deliveries=count, delivery=None))

        return await asked.once.answer(request, await _body(request), carried_out)


class _Asked:
    """Calls of the outbox in threads; what it refuses is a problem."""

    def __init__(self, once: Once) -> None:
        self._blocking, self.once = Blocking(), once

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        try:
            return await self._blocking.call(function, *arguments)
        except UnknownEndpoint as error:
            raise Problem("unknown-endpoint", str(error)) from error
        except TargetRefused as error:
            raise Problem(
                "invalid-request", str(error), errors=[FieldError(where="body.target", message=str(error))]
            ) from error


def _decoded(body: bytes) -> NewEndpoint:
    try:
        return msgspec.json.decode(body, type=NewEndpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("invalid-request", str(error), errors=[FieldError(where="body", message=str(error))]) from error


def _checked(where: str, read: Callable[[str], int], text: str) -> int:
    try:
        return read(text)
    except ValueError as error:
        raise Problem("invalid-request", str(error), errors=[FieldError(where=where, message=str(error))]) from error


async def _body(request: Request) -> bytes:
    """All of it, which is JSON or nothing."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported-media-type", "expected Content-Type: application/json, also where there is no body")
    return await body_of(request, MAX_BODY)


def _without_secret(body: bytes) -> bytes:
    """What is kept of an answer for a request that is repeated: a secret is told once."""
    return msgspec.json.encode(msgspec.json.decode(body, type=dict[str, Any]) | {"secret": ""})


def _json(answer: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status, NO_STORE, "application/json")
