"""The plain page at `/`: one file, no other origin, and a policy that allows exactly its own script and style."""

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
    """`/`."""
    router = APIRouter(dependencies=[needs(OPEN)])
    html = files("api").joinpath("static/index.html").read_text("utf-8")
    headers = {"content-security-policy": policy_of(html), "cache-control": "no-cache"}

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(html, media_type="text/html", headers=headers)

    return router


def policy_of(html: str) -> str:
    """A content security policy under which only the inline blocks of `html` run, and connections stay with us."""
    hashes = {"script": [], "style": []}  # type: dict[str, list[str]]
    for name, block in _BLOCK.findall(html):
        hashes[name].append(f"'sha256-{b64encode(sha256(block.encode()).digest()).decode()}'")
    return (
        f"default-src 'none'; script-src {' '.join(hashes['script'])}; style-src {' '.join(hashes['style'])}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
