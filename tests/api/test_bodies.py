"""A body that is too large, too slow, or never comes whole is refused, whichever route reads it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

import api.bodies
from api.bodies import BodyRefused, body_of, whole_body
from api.problems import Problem


def request(*parts: dict[str, Any]) -> Request:
    """Whose parts come one after the other; behind the last nothing comes."""
    left: Iterator[dict[str, Any]] = iter(parts)

    async def receive() -> dict[str, Any]:
        part = next(left, None)
        return part if part is not None else await asyncio.Future()

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_parts_are_put_together_up_to_the_limit() -> None:
    parts = part(b"ab"), part(b"cd", more=False)
    assert asyncio.run(whole_body(request(*parts), 4)) == b"abcd"
    with pytest.raises(BodyRefused, match="expected at most 3 bytes") as refused:
        asyncio.run(whole_body(request(*parts), 3))
    assert refused.value.status == 413


def test_one_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.bodies, "BODY_WITHIN_S", 0.05)
    with pytest.raises(BodyRefused, match=r"it did not come within 0\.05 s") as refused:
        asyncio.run(whole_body(request(part(b"ab")), 100))
    assert refused.value.status == 408
    with pytest.raises(Problem, match=r"body: it did not come within 0\.05 s"):
        asyncio.run(body_of(request(part(b"ab")), 100))


def test_a_client_that_leaves_is_told_apart() -> None:
    with pytest.raises(BodyRefused, match="the client left") as refused:
        asyncio.run(whole_body(request(part(b"ab"), {"type": "http.disconnect"}), 100))
    assert refused.value.status == 400
