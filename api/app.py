"""The API as one ASGI application, made from its ports."""

import logging
from asyncio import CancelledError, Task, TaskGroup, create_task
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api.access.gate import Gate
from api.access.needs import declarations, methods_of
from api.asyncapi import asyncapi_routes
from api.feed.entry import Door
from api.feed.features import FeatureFeed
from api.feed.hub import FeedHub
from api.inference_messages import InferenceRefused
from api.middleware import RequestFrame
from api.newest import Newest
from api.once import Once
from api.openapi import describe
from api.page import page_routes
from api.ports import Ports
from api.problems import HANDLERS, Problem
from api.revalidation import Revalidated
from api.routes.alerts import alert_routes
from api.routes.health import health_routes
from api.routes.history import history_routes
from api.routes.hooks import hook_routes
from api.routes.inference import inference_routes, on_caller_problem, on_model_error, on_refused
from api.routes.market import market_routes
from api.routes.models import model_routes
from api.routes.predict import predict_routes
from api.routes.sql import sql_routes
from api.routes.stream import stream_routes
from schemas.errors import ModelError

_log = logging.getLogger("tickwire.api")
MAX_BODY_BYTES: Final = 1 << 20
"""Of a request, where its route does not say more."""
LOOPBACK_PAGES: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
CORS_HEADERS: Final = (
    "authorization",
    "x-api-key",
    "content-type",
    "idempotency-key",
    "if-none-match",
    "if-match",
    "x-request-id",
)
EXPOSED: Final = (
    "etag",
    "idempotency-replayed",
    "link",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-request-id",
    "x-row-count",
)
TAGS: Final[list[dict[str, Any]]] = [
    {"name": "market", "description": "The newest scores and features, and the history page by page"},
    {
        "name": "alerts",
        "description": "Alert rules, their back-tests, what they have said, and where that is delivered to",
    },
    {"name": "models", "description": "Which models score, how they do, scores on demand, and changes"},
    {"name": "sql", "description": "Questions to the history: named queries, and SELECTs where they are allowed"},
    {"name": "operations", "description": "Health, readiness, metrics, version"},
]


def create_app(ports: Ports, hub: FeedHub, *, version: str, origins: Collection[str] = ()) -> FastAPI:
    """The application. `hub`: whoever consumes the topics publishes into it. `version`: of the distribution.

    `origins`: web pages, besides those on loopback, that may open the feed and ask us, such as `https://desk.example.com`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = create_task(_feed(hub, door, FeatureFeed(hub, newest)))
        running.add_done_callback(_say_if_it_failed)
        try:
            yield
        finally:
            running.cancel()
            with suppress(CancelledError):
                await running
            await ports.latest.aclose()
            if ports.access.limiter is not None:
                await ports.access.limiter.close()

    app = FastAPI(
        title="tickwire", version=version, lifespan=lifespan, openapi_tags=TAGS, docs_url=None, redoc_url=None,
        max_body_size=MAX_BODY_BYTES,
        exception_handlers={
            **HANDLERS, Problem: on_caller_problem, InferenceRefused: on_refused, ModelError: on_model_error,
        },
    )  # fmt: skip
    newest, gate, once = Newest(ports.latest), Gate(ports.access), Once(ports.once)
    app.state.gate, door = gate, Door(hub, gate)
    app.include_router(history_routes(ports, newest))  # first: /features/A/history is not of a symbol A/history
    app.include_router(market_routes(newest))
    app.include_router(health_routes(ports, hub, version))
    app.include_router(stream_routes(hub, newest, ports.meter, ports.now_ns, origins, door))
    if ports.predictor is not None:
        app.include_router(inference_routes(ports.predictor, version))
        app.include_router(predict_routes(ports.predictor, newest, ports.models))
    if ports.models is not None:
        app.include_router(model_routes(ports.models, once))
    if ports.rules is not None and ports.alerts is not None:
        app.include_router(alert_routes(ports.rules, ports.alerts, ports.now_ns, once))
    app.include_router(asyncapi_routes(version))
    if ports.sql is not None:
        app.include_router(sql_routes(ports.sql))
    if ports.hooks is not None:
        app.include_router(hook_routes(ports.hooks, once))
    app.include_router(page_routes())
    app.add_middleware(Revalidated)
    app.add_middleware(
        CORSMiddleware, allow_origins=list(origins), allow_origin_regex=LOOPBACK_PAGES,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"], allow_headers=CORS_HEADERS, expose_headers=EXPOSED,
    )  # fmt: skip
    app.add_middleware(RequestFrame, meter=ports.meter, origins=origins)
    declared = list(declarations(app))
    app.state.methods_of = partial(methods_of, declared)
    app.openapi = lambda: describe(app, declared)  # type: ignore[method-assign]
    return app


async def _feed(hub: FeedHub, door: Door, features: FeatureFeed) -> None:
    """All or none: nothing is delivered while nobody looks whose key has ended."""
    async with TaskGroup() as together:
        together.create_task(hub.run())
        together.create_task(door.run())
        together.create_task(features.run())


def _say_if_it_failed(feed: "Task[None]") -> None:
    if not feed.cancelled() and (error := feed.exception()) is not None:
        _log.critical("the feed has stopped; /readyz says so, too", exc_info=error)
