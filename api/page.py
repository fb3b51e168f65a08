"""The plain page at `/`: no other origin, and a policy that allows exactly its own style, its own script and our client."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from api.access.needs import needs
from api.access.scopes import OPEN

_BLOCK: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_routes() -> APIRouter:
    """`/`, and `/static/feed.js`, the client of the feed that it uses and others may."""
    router = APIRouter(dependencies=[needs(OPEN)])
    script = files("api").joinpath("static/feed.js").read_text("utf-8")
    html = files("api").joinpath("static/index.html").read_text("utf-8")
    headers = {"content-security-policy": policy_of(html), "cache-control": "no-cache"}

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(html, media_type="text/html", headers=headers)

    @router.get("/static/feed.js", include_in_schema=False)
    async def client() -> Response:
        return Response(script, media_type="text/javascript", headers={"cache-control": "no-cache"})

    return router


def policy_of(html: str) -> str:
    """A content security policy under which only our files and the inline blocks of `html` run, and connections stay with us."""
    hashes = {"script": [], "style": []}  # type: dict[str, list[str]]
    for name, block in _BLOCK.findall(html):
        hashes[name].append(f"'sha256-{b64encode(sha256(block.encode()).digest()).decode()}'")
    return (
        f"default-src 'none'; script-src 'self' {' '.join(hashes['script'])}; style-src {' '.join(hashes['style'])}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
