"""AsyncAPI 3 of the feed, from the very types that are encoded and decoded."""

from inspect import cleandoc
from typing import Any, Final, get_args

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response

from api.access.needs import needs
from api.access.scopes import OPEN
from api.feed import messages
from api.feed.channels import CHANNELS
from api.feed.views import PACKED, SUBPROTOCOLS

SAID_BY_CLIENT: Final = get_args(messages.Op)
SAID_BY_SERVER: Final = (*get_args(messages.Message), *get_args(messages.OfStream))
_SCHEMA: Final = "#/components/schemas/{name}"
_MESSAGE: Final = "#/components/messages/{name}"


def asyncapi_routes(version: str) -> APIRouter:
    """`/asyncapi.json`."""
    router = APIRouter(dependencies=[needs(OPEN)])
    document = msgspec.json.encode(describe_feed(version))

    @router.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi() -> Response:
        return Response(document, media_type="application/json")

    return router


def describe_feed(version: str) -> dict[str, Any]:
    """The whole document. A client's frame is one message, a server's frame an array of them."""
    _, schemas = msgspec.json.schema_components((*SAID_BY_CLIENT, *SAID_BY_SERVER), ref_template=_SCHEMA)
    every = (*SAID_BY_CLIENT, *SAID_BY_SERVER)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "tickwire feed", "version": version, "description": cleandoc(messages.__doc__ or "")},
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "description": f"WebSocket. Subprotocols: {', '.join(SUBPROTOCOLS)}; the first is msgpack, JSON is the default.",
                "messages": {each.__name__: {"$ref": _MESSAGE.format(name=each.__name__)} for each in every},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "obey": _operation("receive", "What a client may say, one message a frame", SAID_BY_CLIENT),
            "tell": _operation("send", "What the server says, an array of messages a frame", SAID_BY_SERVER),
        },
        "components": {
            "messages": {each.__name__: _message(each) for each in every},
            "schemas": schemas,
        },
        "x-close-codes": {str(code): advice for code, advice in messages.CLOSE_ADVICE.items()},
        "x-subscriptions": [
            {"channel": one.name, "conflates": one.conflates, "linked": one.linked, "columns": list(one.columns)}
            for one in CHANNELS.values()
        ],
        "x-msgpack-subprotocol": PACKED,
    }


def _operation(action: str, summary: str, said: tuple[type, ...]) -> dict[str, Any]:
    channel = "#/channels/stream"
    return {
        "action": action, "summary": summary, "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{each.__name__}"} for each in said],
    }  # fmt: skip


def _message(said: type) -> dict[str, Any]:
    return {
        "name": said.__name__, "summary": cleandoc(said.__doc__ or ""),
        "payload": {"$ref": _SCHEMA.format(name=said.__name__)},
    }  # fmt: skip
