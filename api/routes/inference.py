"""The Open Inference Protocol (KServe V2) over the models on our shelf: `/v2`, as Triton and its clients speak it.

Its errors are `{"error": …}`, not problem details. The protocol has a specification of its own, so `/openapi.json` leaves it out.
"""

import logging
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.access.needs import needs
from api.access.scopes import OPEN
from api.blocking import Blocking
from api.bodies import BodyRefused, whole_body
from api.inference_messages import (
    EXTENSIONS,
    MAX_BYTES,
    InferenceRefused,
    ModelMetadata,
    decode_request,
    encode_response,
    metadata_of,
)
from api.ports import Predictor, ServedModel
from api.problems import KINDS, Problem, on_problem
from schemas.errors import ModelError

JSON_LENGTH: Final = "inference-header-content-length"
THREADS: Final = 2
MAX_INSIDE: Final = 64
"""Requests that are read, wait or are scored; the next one is told to come back."""
NOT_READY: Final = 400
"""The protocol wants 4xx for false."""
_log = logging.getLogger("tickwire.api")


def inference_routes(predictor: Predictor, version: str) -> APIRouter:
    """`/v2`, `/v2/health/…`, `/v2/models/{name}[/versions/{version}][/ready|/infer]`."""
    router = APIRouter(prefix="/v2", include_in_schema=False, max_body_size=2 * MAX_BYTES)  # `_body` refuses before
    guarded = APIRouter(dependencies=[needs("models:infer")])
    inference = Inference(predictor)
    _add_server_routes(router, inference, version)
    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        _add_model_routes(guarded, inference, path)

    @guarded.api_route("/models/{rest:path}", methods=["GET", "POST"])
    @guarded.api_route("/repository/{rest:path}", methods=["GET", "POST"])
    async def nothing(request: Request) -> Response:
        raise InferenceRefused(404, f"{request.method} {request.url.path[:200]} is not served")

    router.include_router(guarded)
    return router


def _add_server_routes(router: APIRouter, inference: "Inference", version: str) -> None:
    @router.get("", dependencies=[needs(OPEN)])
    async def server() -> Response:
        return _json({"name": "tickwire", "version": version, "extensions": EXTENSIONS})

    @router.get("/health/live", dependencies=[needs(OPEN)])
    async def live() -> Response:
        return _json({"live": True})

    @router.get("/health/ready", dependencies=[needs(OPEN)])
    async def ready() -> Response:
        found = await inference.all_ready()
        return _json({"ready": found}, 200 if found else NOT_READY)


def _add_model_routes(router: APIRouter, inference: "Inference", path: str) -> None:
    @router.get(path)
    async def metadata(request: Request) -> Response:
        return _json(await inference.metadata(*_named(request)))

    @router.get(f"{path}/ready")
    async def ready(request: Request) -> Response:
        found = await inference.is_ready(*_named(request))
        return _json({"name": request.path_params["name"], "ready": found}, 200 if found else NOT_READY)

    @router.post(f"{path}/infer")
    async def infer(request: Request) -> Response:
        return await inference.infer(request, *_named(request))


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")


class Inference:
    """Scores requests in threads of its own, so that neither the feed nor the other routes wait for a model."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor, self._blocking = predictor, Blocking(THREADS)
        self._looking = Blocking(1)
        self._inside = 0

    async def metadata(self, name: str, version: str) -> ModelMetadata:
        """What a model takes and gives. Raises: `InferenceRefused`, `ModelError`."""
        return await self._looking.call(self._describe, name, version)

    async def is_ready(self, name: str, version: str) -> bool:
        """Whether a model can be used. Raises: `InferenceRefused` where there is none."""
        try:
            await self._looking.call(self._find, name, version)
        except ModelError as error:
            _log.warning("model not ready", extra={"model": name, "error": str(error)})
            return False
        return True

    async def all_ready(self) -> bool:
        """Whether the current version of every model can be used."""
        return all([await self.is_ready(name, "") for name in await self._looking.call(self._predictor.models)])

    async def infer(self, request: Request, name: str, version: str) -> Response:
        """Scores of the rows in the request's body. Raises: `InferenceRefused`, `ModelError`."""
        if self._inside >= MAX_INSIDE:
            raise InferenceRefused(503, f"{MAX_INSIDE} requests are being answered; repeat in a second")
        self._inside += 1
        try:
            body = await _body(request)
            answer, length = await self._blocking.call(
                self._answer, name, version, body, request.headers.get(JSON_LENGTH)
            )
        finally:
            self._inside -= 1
        if length is None:
            return Response(answer, media_type="application/json")
        return Response(answer, headers={JSON_LENGTH: str(length)}, media_type="application/octet-stream")

    def _answer(self, name: str, version: str, body: bytes, length: str | None) -> tuple[bytes, int | None]:
        model = self._find(name, version)
        asked = decode_request(body, length, len(model.features))
        return encode_response(model, asked, self._predictor.infer(model, asked.features))

    def _describe(self, name: str, version: str) -> ModelMetadata:
        return metadata_of(self._find(name, version), self._predictor.models().get(name, ()))

    def _find(self, name: str, version: str) -> ServedModel:
        found = self._predictor.find(name, version)
        if found is None:
            known = ", ".join(list(self._predictor.models())[:20]) or "none yet"
            raise InferenceRefused(
                404, f"no model {name[:100]}{f' of version {version[:100]}' if version else ''}; there are {known}"
            )
        return found


async def _body(request: Request) -> bytes:
    """All of it. Raises: `InferenceRefused` where it is too large, too slow or packed."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise InferenceRefused(415, "expected a body without Content-Encoding")
    try:
        return await whole_body(request, MAX_BYTES)
    except BodyRefused as error:
        advice = "; send fewer rows at once" if error.status == 413 else ""
        raise InferenceRefused(error.status, f"body: {error}{advice}") from error


async def on_refused(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """A request that cannot be answered."""
    assert isinstance(error, InferenceRefused)
    response = _json({"error": str(error)}, error.status)
    if error.status == 503:
        response.headers["retry-after"] = "1"
    return response


async def on_caller_problem(request: Request, error: Exception) -> Response:
    """A caller who was refused, in the words of the protocol that it speaks."""
    assert isinstance(error, Problem)
    if not request.url.path.startswith("/v2"):
        return await on_problem(request, error)
    response = _json({"error": error.detail}, KINDS[error.kind].status)
    response.headers.update(error.headers)
    return response


async def on_model_error(request: Request, error: Exception) -> Response:
    """A model that is there but must not be used; why, with its path, stays in our logs."""
    request_id = request.state.request_id
    _log.warning("model refused", extra={"request_id": request_id, "error": str(error)})
    return _json({"error": f"this model cannot be used now; our log says why, under {request_id}"}, 503)


def _json(answer: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status, media_type="application/json")
