"""OpenAPI 3.1 from the very types that are encoded: FastAPI describes the parameters, msgspec the answers."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct

from api import answers, examples, hook_answers
from api.problems import KINDS, MEDIA_TYPE, ProblemDetails

EXAMPLES: Final[Mapping[type[Struct], object]] = {
    answers.Symbols: examples.SYMBOLS,
    answers.LatestPrediction: examples.PREDICTION,
    answers.LatestFeatures: examples.FEATURES,
    answers.Bars: examples.BARS,
    answers.Alive: examples.ALIVE,
    answers.Ready: examples.READY,
    answers.Version: examples.VERSION,
}
_REF: Final = "#/components/schemas/{name}"
DESCRIPTION: Final = """Scored market ticks. Latest values and closed bars are here; live updates are on the WebSocket
`/v1/stream` (see the page `/`). Times are RFC 3339 in UTC with nine digits. Errors are `application/problem+json` (RFC
9457); every `type` is a path of this server that explains itself. Rows of your own are scored under `/v2`, by the Open
Inference Protocol (KServe V2), which has a specification of its own."""


def answered(answer: type[Struct], what: str, *problems: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the answer, and the problems it may have (keys of `KINDS`)."""
    reference = {"$ref": _REF.format(name=answer.__name__)}
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": what, "content": {"application/json": {"schema": reference}}}
    }
    for name in (*problems, "internal-error"):
        kind = KINDS[name]
        found[kind.status] = {
            "description": f"{kind.title} (`/problems/{name}`). {kind.advice}",
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name=ProblemDetails.__name__)}}},
        }
    return found


def describe(app: FastAPI) -> dict[str, Any]:
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
        _, components = msgspec.json.schema_components(
            (*EXAMPLES, *hook_answers.ALL, ProblemDetails), ref_template=_REF
        )
        document.setdefault("components", {})["schemas"] = components
        _show_examples(document)
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
