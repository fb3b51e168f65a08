"""Errors as RFC 9457 problem details; every `type` is a path that this server explains."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from msgspec import Meta, Struct
from starlette.exceptions import HTTPException

from schemas.errors import BackendError, SchemaError, TickwireError

_log = logging.getLogger("tickwire.api")
MEDIA_TYPE: Final = "application/problem+json"


class FieldError(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a request."""

    where: Annotated[str, Meta(examples=["query.limit"])]
    message: str


class ProblemDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, as RFC 9457 says it."""

    type: Annotated[str, Meta(description="Stable, and a path of this server", examples=["/problems/unknown-symbol"])]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="The path that was asked for")]
    request_id: Annotated[str, Meta(description="Also in the header X-Request-ID, and in our logs")]
    errors: Sequence[FieldError] = ()
    suggestions: Annotated[Sequence[str], Meta(description="Symbols with a similar name")] = ()


class Kind(Struct, frozen=True):
    """One kind of problem."""

    status: int
    title: str
    advice: str


KINDS: Final[Mapping[str, Kind]] = {
    "not-found": Kind(404, "Nothing is here", "GET /openapi.json lists every path."),
    "unknown-symbol": Kind(404, "Unknown symbol", "GET /v1/symbols lists the symbols; they are case-sensitive."),
    "unknown-endpoint": Kind(
        404, "Unknown endpoint or delivery", "GET /v1/alerts/endpoints and /v1/alerts/deliveries list them."
    ),
    "unsupported-media-type": Kind(415, "Unsupported media type", "Send JSON, with Content-Type: application/json."),
    "method-not-allowed": Kind(405, "Method not allowed", "The header Allow lists the methods of this path."),
    "unknown-rule": Kind(404, "Unknown rule", "GET /v1/alerts/rules lists the rules that stand."),
    "rule-refused": Kind(
        409, "Change of a rule refused", "The detail says why; nothing has changed wherever it was heard."
    ),
    "key-reused": Kind(422, "Idempotency-Key used before", "Take a new key for a new request."),
    "still-running": Kind(409, "The same request runs", "Come back after the seconds in the header Retry-After."),
    "unknown-model": Kind(404, "Unknown model", "GET /v1/models lists the models of this machine."),
    "model-refused": Kind(
        409, "Change of the models refused", "The detail says why; nothing has changed wherever it was heard."
    ),
    "model-unusable": Kind(503, "The model cannot be used now", "Our log says why, under the request id."),
    "invalid-request": Kind(422, "Invalid request", "`errors` says which part is wrong and what was expected."),
    "unauthenticated": Kind(
        401, "Who are you?", "Show a key as `Authorization: Bearer tk_…`; `tickwire keys create` makes one."
    ),
    "forbidden": Kind(403, "Not allowed", "The detail names the scope; a key of another role may have it."),
    "too-many-requests": Kind(
        429, "Too many requests", "Come back after the seconds in Retry-After; see RateLimit-Policy."
    ),
    "forbidden-origin": Kind(403, "Origin not allowed", "Add the page's origin to the API's allowed origins."),
    "unknown-query": Kind(404, "Unknown query", "GET /v1/sql/queries lists the queries with their parameters."),
    "sql-not-allowed": Kind(403, "SQL of one's own is not run here", "Use a named query, or set TICKWIRE_SQL__FREE."),
    "sql-refused": Kind(422, "SQL refused", "The detail says what in the statement is not allowed, and what is."),
    "query-failed": Kind(422, "The database could not make sense of the query", "The detail is what it said."),
    "query-too-large": Kind(422, "The query wants more than one may have", "Ask for a shorter stretch or fewer rows."),
    "not-acceptable": Kind(406, "No answer of this media type", "The detail lists those that there are."),
    "too-many-queries": Kind(503, "Too many queries", "Come back after the seconds in the header Retry-After."),
    "too-many-clients": Kind(503, "Too many clients", "Come back after the seconds in the header Retry-After."),
    "not-ready": Kind(503, "Not ready", "`errors` says what is missing; GET /healthz says whether we live."),
    "backend-unavailable": Kind(503, "A service behind us failed", "Repeat after the seconds in Retry-After."),
    "internal-error": Kind(500, "Internal error", "It is our fault; the request id finds it in our logs."),
    "http-error": Kind(400, "Request refused", "The detail says why."),
}
RETRY_AFTER_S: Final = {
    "too-many-clients": "5", "still-running": "1", "model-unusable": "5", "too-many-queries": "2", "not-ready": "1",
    "backend-unavailable": "5",
}  # fmt: skip


class Problem(TickwireError):
    """An answer that is not the one that was asked for. `kind` is a key of `KINDS`."""

    def __init__(
        self, kind: str, detail: str, *, errors: Sequence[FieldError] = (), suggestions: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.headers = headers or {}
        self.kind, self.detail, self.errors, self.suggestions = kind, detail, errors, suggestions


def render(scope: Mapping[str, Any], problem: Problem, *, status: int | None = None) -> Response:
    """The problem as a response to the request of `scope`."""
    kind = KINDS[problem.kind]
    details = ProblemDetails(
        type=f"/problems/{problem.kind}",
        title=kind.title,
        status=status or kind.status,
        detail=problem.detail,
        instance=scope["path"],
        request_id=scope.get("state", {}).get("request_id", ""),
        errors=problem.errors,
        suggestions=problem.suggestions,
    )
    headers = {"retry-after": RETRY_AFTER_S[problem.kind]} if problem.kind in RETRY_AFTER_S else {}
    headers |= problem.headers
    return Response(msgspec.json.encode(details), details.status, headers, MEDIA_TYPE)


async def on_problem(request: Request, error: Exception) -> Response:
    """A problem that a route raised."""
    assert isinstance(error, Problem)
    return render(request.scope, error)


async def on_invalid(request: Request, error: Exception) -> Response:
    """Parameters that FastAPI refused."""
    assert isinstance(error, RequestValidationError)
    errors = [FieldError(where=".".join(map(str, one["loc"])), message=one["msg"]) for one in error.errors()]
    detail = "; ".join(f"{one.where}: {one.message}" for one in errors)
    return render(request.scope, Problem("invalid-request", detail, errors=errors))


async def on_backend_error(request: Request, error: Exception) -> Response:
    """A service behind us that did not answer, or holds what another build wrote; what it said stays in our logs."""
    _log.warning("backend failed", extra={"request_id": request.state.request_id, "error": str(error)})
    return render(
        request.scope, Problem("backend-unavailable", f"{type(error).__name__}: the answer is not available now")
    )


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the framework refused: no such path, no such method."""
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    detail = {
        404: f"no such path: {request.url.path}",
        405: f"{request.method} is not a method of {request.url.path}",
    }.get(error.status_code, str(error.detail))
    response = render(request.scope, Problem(kind, detail), status=error.status_code)
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["allow"] = ", ".join(request.app.state.methods_of(request.url.path))
    return response


HANDLERS: Final[Mapping[int | type[Exception], Any]] = {
    Problem: on_problem,
    RequestValidationError: on_invalid,
    BackendError: on_backend_error,
    SchemaError: on_backend_error,
    HTTPException: on_http_error,
}
