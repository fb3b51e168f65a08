"""How much and how often a caller may ask, and from which pages."""

import asyncio
import socket
import time

import pytest
from fastapi.testclient import TestClient

from api import http_limits
from api.access.ports import Access
from api.feed.messages import BAD_MESSAGES
from tests.api.access.keys import Keys
from tests.api.access.limiter import Count
from tests.api.fakes import World, client_of, latest, serving
from tests.api.predictors import Predicting

VIEWER = {"X-API-Key": "tk_viewer"}


def limited(most: int) -> World:
    of = World(access=Access(Keys(), limiter=Count(most)))
    of.latest.rows = [latest("SIMA")]
    return of


def test_the_headers_tell_what_is_left_and_429_when_to_come_back() -> None:
    with TestClient(limited(2).app()) as client:
        answers = [client.get("/v1/symbols", headers=VIEWER) for _ in range(3)]
        other = client.get("/v1/symbols", headers={"X-API-Key": "tk_admin"})
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit"] for answer in answers] == [f'"read";r={left};t=13' for left in (1, 0, 0)]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"read";q=2;w=60'}
    assert answers[2].headers["retry-after"] == "13"
    assert answers[2].json()["type"] == "/problems/too-many-requests"
    assert other.status_code == 200


def test_kinds_of_requests_are_counted_apart_and_what_is_open_is_not_counted() -> None:
    of = Predicting(access=Access(Keys(), limiter=Count(1)))
    of.latest.rows = [latest("SIMA")]
    key = {"X-API-Key": "tk_analyst"}
    with TestClient(of.app()) as client:
        assert client.get("/v1/symbols", headers=key).status_code == 200
        assert client.get("/v2/models/formula", headers=key).status_code == 200
        refused = client.get("/v2/models/formula", headers=key)
        assert [client.get("/healthz").status_code for _ in range(5)] == [200] * 5
    assert refused.status_code == 429
    assert refused.json().keys() == {"error"}
    assert refused.headers["retry-after"] == "13"


def test_who_guesses_keys_is_told_to_wait_and_nobody_else_is() -> None:
    with TestClient(limited(3).app()) as client:
        tries = [client.get("/v1/symbols", headers={"X-API-Key": f"tk_{n}"}).status_code for n in range(5)]
        assert tries == [401, 401, 401, 429, 429]
        assert client.get("/v1/symbols", headers=VIEWER).status_code == 200


def test_a_client_of_the_feed_that_says_too_much_is_told_and_then_let_go() -> None:
    of = limited(3)

    async def conversation(address: str) -> None:
        async with client_of(address, additional_headers=VIEWER) as client:
            for n in range(20):
                await client.say(op="ping", id=n)
            answers = [await client.next() for _ in range(14)]
            assert [answer["type"] for answer in answers] == ["pong"] * 3 + ["error"] * 11
            assert {answer.get("code") for answer in answers[3:]} == {"rate_limited"}
            await client.socket.wait_closed()
            assert client.socket.close_code == BAD_MESSAGES

    with serving(of) as (address, _):
        asyncio.run(conversation(address))


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://desk.example.com.evil.example"])
def test_pages_of_others_may_not_ask(origin: str) -> None:
    of = World(origins=("https://desk.example.com",))
    with TestClient(of.app()) as client:
        for method in ("GET", "POST", "OPTIONS"):
            answer = client.request(
                method, "/v1/symbols", headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
            )
            assert answer.status_code == 403
            assert answer.json()["type"] == "/problems/forbidden-origin"
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", ["https://desk.example.com", "http://localhost:3000"])
def test_pages_that_may_ask_are_told_so(origin: str) -> None:
    of = World(origins=("https://desk.example.com",))
    with TestClient(of.app()) as client:
        answer = client.get("/v1/symbols", headers={"Origin": origin})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        assert "access-control-allow-credentials" not in answer.headers
        before = client.options(
            "/v1/symbols",
            headers={
                "Origin": origin, "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "authorization",
            },
        )  # fmt: skip
        assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, origin)


def test_every_answer_has_the_safe_headers() -> None:
    with TestClient(World().app()) as client:
        for path in ("/v1/symbols", "/", "/nothing", "/openapi.json"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "default-src 'none'" in headers["content-security-policy"]


def test_a_body_that_is_too_large_is_refused_whatever_its_head_says() -> None:
    of = Predicting()
    with TestClient(of.app()) as client:
        large = client.post("/v2/models/formula/infer", content=b"x" * (9 << 20))
        assert large.status_code == 413
        in_parts = client.post("/v2/models/formula/infer", content=(b"x" * 65_536 for _ in range(200)))
        assert in_parts.status_code == 413


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 9_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Many: aaaaaaaaaaaaaaaaaaaa\r\n" * 700 + b"\r\n",
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Endless: " + b"a" * 200_000,
        b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Long: " + b"a" * 8_500
        + b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ],
)  # fmt: skip
def test_a_head_that_is_too_large_is_answered_and_the_connection_closed(head: bytes) -> None:
    with serving(World()) as (address, _), _connected(address) as connection:
        connection.sendall(head)
        assert _until_closed(connection).startswith(b"HTTP/1.1 400")


def test_a_head_that_comes_too_slowly_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_WITHIN_S", 0.5)
    with serving(World()) as (address, _):
        for begin in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
            with _connected(address) as connection:
                if begin:
                    connection.sendall(begin)
                    assert connection.recv(4_096).startswith(b"HTTP/1.1 200")
                connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
                began = time.monotonic()
                assert _until_closed(connection) == b""
                assert time.monotonic() - began < 2


def test_a_body_of_one_piece_with_its_head_does_not_count_as_head() -> None:
    body = b"x" * 100_000
    head = b"POST /v1/symbols HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with serving(World()) as (address, _), _connected(address) as connection:
        connection.sendall(head + body)
        assert connection.recv(4_096).startswith(b"HTTP/1.1 405")


def _connected(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _until_closed(connection: socket.socket) -> bytes:
    said = b""
    try:
        while part := connection.recv(65_536):
            said += part
    except ConnectionResetError:
        pass
    return said
