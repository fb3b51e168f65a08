"""Whether we live, whether we are ready, what we are, and our metrics."""

from typing import Final

import msgspec
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from api.access.needs import needs
from api.access.scopes import OPEN
from api.answers import Alive, FeedReport, Ready, Version
from api.feed.hub import FeedHub
from api.openapi import answered
from api.ports import Ports
from api.problems import KINDS, Problem
from api.readiness import Readiness

EXPOSITION_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def health_routes(ports: Ports, hub: FeedHub, version: str) -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics`, `/version`, `/problems/{kind}`."""
    router = APIRouter(tags=["operations"])
    readiness = Readiness(ports)
    _add_probes(router, readiness, hub)

    @router.get(
        "/metrics", operation_id="getMetrics", summary="Metrics of this process in Prometheus' text format",
        responses={200: {"description": "Text format 0.0.4", "content": {"text/plain": {"schema": {"type": "string"}}}}},
        response_class=PlainTextResponse, dependencies=[needs("metrics:read")],
    )  # fmt: skip
    async def metrics() -> Response:
        return Response(ports.exposition(), media_type=EXPOSITION_TYPE)

    @router.get(
        "/version", operation_id="getVersion", summary="What runs here", dependencies=[needs(OPEN)],
        responses=answered(Version, "Name, version and the feed's epoch"),
    )  # fmt: skip
    async def what_runs() -> Response:
        return _json(Version(name="tickwire", version=version, epoch=hub.epoch))

    @router.get("/problems/{kind}", include_in_schema=False, dependencies=[needs(OPEN)])
    async def problem(kind: str) -> Response:
        if kind not in KINDS:
            raise Problem(
                "not-found", f"no kind of problem is called {kind[:60]}; there are {', '.join(sorted(KINDS))}"
            )
        return PlainTextResponse(f"{KINDS[kind].title} (HTTP {KINDS[kind].status})\n\n{KINDS[kind].advice}\n")

    return router


def _add_probes(router: APIRouter, readiness: Readiness, hub: FeedHub) -> None:
    @router.get(
        "/healthz", operation_id="getHealth", summary="Whether the process answers", dependencies=[needs(OPEN)],
        responses=answered(Alive, "It does"),
    )  # fmt: skip
    async def health() -> Response:
        return _json(Alive())

    @router.get(
        "/readyz", operation_id="getReadiness",
        summary="Whether we can serve: provider and models really used, lag, feeds",
        responses=answered(Ready, "We can, with this", "not-ready"), dependencies=[needs(OPEN)],
    )  # fmt: skip
    async def ready() -> Response:
        report = await readiness.check()
        if not hub.running:
            report.against("feed", "the WebSocket feed has stopped; the log says why; restart this process")
        if report.reasons:
            raise Problem("not-ready", "; ".join(one.message for one in report.reasons), errors=report.reasons)
        feed = FeedReport(epoch=hub.epoch, clients=len(hub.clients), messages=hub.messages, idle_s=hub.idle_s())
        return _json(Ready(status="ready", lag=report.lag, scores=report.scores, feed=feed, warnings=report.warnings))


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
