"""The models: which there are, which score, how they did, and changes of that."""

import logging
from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.access.needs import needs
from api.blocking import Blocking
from api.bodies import json_of
from api.model_answers import ModelChangeRequest, ModelChanges, ModelChangeTaken, Models, Scoreboard
from api.once import Once
from api.openapi import answered, asked_with
from api.ports import ModelDesk
from api.problems import Problem
from schemas.control import ModelChange
from schemas.errors import ModelError

MAX_BYTES: Final = 8_192
Hours = Annotated[float, Query(gt=0, le=24 * 31, description="Of event time, back from the newest outcome")]
By = Annotated[Literal["all", "symbol", "venue"], Query(description="Each of them for itself, too")]
Horizon = Annotated[float | None, Query(gt=0, le=86_400, description="In seconds; all of them where left out")]
_log = logging.getLogger("tickwire.api")


def model_routes(desk: ModelDesk, once: Once) -> APIRouter:
    """`/v1/models`, `/v1/models/scoreboard`, `/v1/models/changes`."""
    router = APIRouter(prefix="/v1/models", tags=["models"])
    blocking, counting = Blocking(), Blocking(1)

    @router.get(
        "", operation_id="listModels", summary="Every model of this machine, and which score",
        dependencies=[needs("models:infer")],
        responses=answered(Models, "By id, those that score first", "backend-unavailable"),
    )  # fmt: skip
    async def models() -> Response:
        return _json(Models(data=await blocking.call(desk.models)))

    @router.get(
        "/scoreboard", operation_id="getScoreboard", summary="How every model did live, with confidence intervals",
        dependencies=[needs("signals:read")],
        responses=answered(Scoreboard, "By outcomes that matured", "invalid-request", "backend-unavailable"),
    )  # fmt: skip
    async def scoreboard(hours: Hours = 24, by: By = "all", horizon: Horizon = None) -> Response:
        return _json(Scoreboard(data=await counting.call(desk.scoreboard, hours, by, horizon)))

    @router.get(
        "/changes", operation_id="listModelChanges", summary="Changes of the models, the newest first",
        dependencies=[needs("signals:read")],
        responses=answered(ModelChanges, "One for each partition", "invalid-request", "backend-unavailable"),
    )  # fmt: skip
    async def changes(limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Response:
        return _json(ModelChanges(data=await blocking.call(desk.changes, limit)))

    _add_change(router, desk, once, blocking)
    return router


def _add_change(router: APIRouter, desk: ModelDesk, once: Once, blocking: Blocking) -> None:
    @router.post(
        "/changes", operation_id="changeModels", summary="Let other models score, from the next record on",
        dependencies=[needs("models:write")], openapi_extra=asked_with(ModelChangeRequest),
        responses=answered(
            ModelChangeTaken, "Where its fence is", "model-refused", "still-running", "invalid-request", "key-reused",
            "backend-unavailable",
        ),
    )  # fmt: skip
    async def change(request: Request) -> Response:
        body, asked = await json_of(request, ModelChangeRequest, MAX_BYTES)
        told = ModelChange(action=asked.action, model=asked.model, why=asked.why, by=str(request.state.caller)[:128])

        async def carried_out() -> Response:
            try:
                taken = await blocking.call(desk.change, told)
            except ModelError as error:
                _log.warning("change of models refused", extra={"model": asked.model, "error": str(error)})
                raise Problem(
                    "model-refused", f"{asked.model} is not known on this machine, or not fit to score"
                ) from error
            if taken.refused and not taken.fence:
                raise Problem("model-refused", "; ".join(dict.fromkeys(taken.refused.values())))
            return _json(taken)

        return await once.answer(request, body, carried_out)


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
