"""OpenAPI 3.1 from the very types that are encoded: FastAPI describes the parameters, msgspec the answers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct

from api import alert_answers, answers, examples, hook_answers
from api.access.needs import Declared
from api.access.scopes import OPEN, ROLES, SCOPES
from api.listings import BY_NAME, LISTINGS
from api.model_answers import ANSWERS, ModelChangeRequest, Predictions, PredictRequest
from api.once import HEADER as ONCE_HEADER
from api.problems import KINDS, MEDIA_TYPE, ProblemDetails
from api.sql.messages import SqlQueries, SqlRequest, SqlResult
from schemas.rules import Rule, RuleTaken, StandingRule

EXAMPLES: Final[Mapping[type[Struct], object]] = {
    answers.Symbols: examples.SYMBOLS,
    answers.LatestPrediction: examples.PREDICTION,
    answers.LatestFeatures: examples.FEATURES,
    BY_NAME["bars"].page: examples.BARS,
    answers.Alive: examples.ALIVE,
    answers.Ready: examples.READY,
    answers.Version: examples.VERSION,
    PredictRequest: examples.PREDICT_REQUEST,
    Predictions: examples.PREDICTIONS,
    ModelChangeRequest: examples.MODEL_CHANGE_REQUEST,
    SqlRequest: examples.SQL_REQUEST,
    SqlResult: examples.SQL_RESULT,
    SqlQueries: examples.SQL_QUERIES,
}
OF_ALERTS: Final = (
    alert_answers.Rules, alert_answers.SaidPage, alert_answers.Tried, alert_answers.BacktestRequest, Rule, RuleTaken,
    StandingRule,
)  # fmt: skip
REFUSALS: Final = ("unauthenticated", "forbidden", "too-many-requests")
_ROLES: Final = "; ".join(f"{role}: {', '.join(name for name in SCOPES if name in ROLES[role])}" for role in ROLES)
SCHEMES: Final[Mapping[str, Mapping[str, str]]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": f"An API key `tk_…`, or a JWT. Scopes by role: {_ROLES}",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key `tk_…`"},
}
_REF: Final = "#/components/schemas/{name}"
DESCRIPTION: Final = """Scored market ticks. Latest values, the history page by page, models and alerts are here; live updates
are on the WebSocket
`/v1/stream` (see the page `/`). Times are RFC 3339 in UTC with nine digits. Errors are `application/problem+json` (RFC
9457); every `type` is a path of this server that explains itself. Rows of your own are scored under `/v2`, by the Open
Inference Protocol (KServe V2), which has a specification of its own."""


def answered(
    answer: type[Struct], what: str, *problems: str, files: Sequence[str] = ()
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the answer, and the problems it may have (keys of `KINDS`).

    `files`: media types in which the answer may be had beside JSON.
    """
    content = {"application/json": {"schema": {"$ref": _REF.format(name=answer.__name__)}}}
    content |= {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in files}
    found: dict[int | str, dict[str, Any]] = {200: {"description": what, "content": content}}
    for name in (*problems, "internal-error"):
        kind, told = KINDS[name], _problem(name)
        if kind.status in found:
            told["description"] = f"{found[kind.status]['description']} {told['description']}"
        found[kind.status] = told
    return found


def _problem(name: str) -> dict[str, Any]:
    kind = KINDS[name]
    return {
        "description": f"{kind.title} (`/problems/{name}`). {kind.advice}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name=ProblemDetails.__name__)}}},
    }


def asked_with(body: type[Struct]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its body itself."""
    schema = {"$ref": _REF.format(name=body.__name__)}
    return {
        "requestBody": {
            "required": True, "content": {"application/json": {"schema": schema, "example": EXAMPLES[body]}},
        }
    }  # fmt: skip


def describe(app: FastAPI, declared: Iterable[Declared]) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version="3.1.0",
            summary="Scored market ticks, live and latest",
            description=DESCRIPTION,
            routes=app.routes,
            tags=app.openapi_tags,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        described = (
            *EXAMPLES,
            *OF_ALERTS,
            *hook_answers.ALL,
            *ANSWERS,
            *(each.page for each in LISTINGS),
            ProblemDetails,
        )
        _, components = msgspec.json.schema_components(described, ref_template=_REF)
        document.setdefault("components", {})["schemas"] = components
        _show_examples(document)
        _show_access(document, declared)
        _show_headers(document)
        app.openapi_schema = document
    return app.openapi_schema


def _show_examples(document: dict[str, Any]) -> None:
    """FastAPI would leave every null out of them."""
    by_reference = {_REF.format(name=answer.__name__): example for answer, example in EXAMPLES.items()}
    for methods in document["paths"].values():
        for operation in methods.values():
            content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
            if content.get("schema", {}).get("$ref") in by_reference:
                content["example"] = by_reference[content["schema"]["$ref"]]


def _show_access(document: dict[str, Any], declared: Iterable[Declared]) -> None:
    """Which scope an operation needs, how a caller shows who it is, and how it is refused."""
    document["components"]["securitySchemes"] = SCHEMES
    for route in declared:
        if route.scope == OPEN or route.path not in document["paths"]:
            continue
        for method in route.methods:
            operation = document["paths"][route.path].get(method.lower())
            if operation is not None:
                operation["security"] = [{name: [route.scope]} for name in SCHEMES]
                operation["responses"] |= {str(KINDS[name].status): _problem(name) for name in REFUSALS}


def _show_headers(document: dict[str, Any]) -> None:
    """What reads may be asked with so that they are not answered twice, and changes so that they are not carried out twice."""
    for path, methods in document["paths"].items():
        for operation in methods.values():  # FastAPI has words of its own for parameters that it refuses
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                operation["responses"]["422"] = _problem("invalid-request")
        read, change = methods.get("get"), methods.get("post")
        if (
            read is not None
            and path.startswith("/v1/")
            and "application/json" in read["responses"]["200"].get("content", {})
        ):
            read.setdefault("parameters", []).append(_header("If-None-Match", "The ETag of the answer that you have"))
            read["responses"]["304"] = {"description": "The answer has not changed; without a body"}
        if change is not None and "still-running" in change["responses"].get("409", {}).get("description", ""):
            told = "Of your choice; a request that comes again with it is not carried out again, for a day"
            change.setdefault("parameters", []).append(_header(ONCE_HEADER.title(), told, maxLength=255))


def _header(name: str, told: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": told,
        "schema": {"type": "string", **schema},
    }
