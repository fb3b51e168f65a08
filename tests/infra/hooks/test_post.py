"""Whatever a receiver does, a POST goes to the checked address alone and ends within its bounds."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.hooks.channel import Answer
from infra.hooks.post import Poster, retry_after_s
from infra.hooks.targets import Allowed
from tests.infra.hooks.receivers import Answers, Receiver, Reply, receiver

HOME = Answers(["127.0.0.1"])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def poster(
    resolver: Answers = HOME, tls: ssl.SSLContext | None = None, total_s: float = 5.0, allowed: Allowed | None = None
) -> Poster:
    return Poster(
        allowed or Allowed(frozenset(), loopback=True), resolver, tls or ssl.create_default_context(), total_s=total_s
    )


def posted(reply: bytes | Reply, total_s: float = 5.0) -> tuple[Answer, Receiver]:
    async def run() -> tuple[Answer, Receiver]:
        async with receiver(reply) as found:
            answer = await poster(total_s=total_s).post(
                f"http://localhost:{found.port}/in?x=1", {"webhook-id": "m"}, b'{"a":1}'
            )
        return answer, found

    return asyncio.run(run())


def test_the_request_is_what_was_given_and_names_the_host_not_the_address() -> None:
    answer, found = posted(OK)
    assert answer == Answer("sent", 200, "ok")
    (request,) = found.requests
    assert request.line == "POST /in?x=1 HTTP/1.1"
    assert request.body == b'{"a":1}'
    assert request.headers["host"] == f"localhost:{found.port}"
    assert request.headers["webhook-id"] == "m"
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    async def run() -> tuple[Answer, Receiver]:
        async with receiver(OK) as elsewhere:
            reply = f"HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:{elsewhere.port}/\r\ncontent-length: 0\r\n\r\n".encode()
            async with receiver(reply) as found:
                answer = await poster().post(f"http://localhost:{found.port}/", {}, b"{}")
            return answer, elsewhere

    answer, elsewhere = asyncio.run(run())
    assert (answer.outcome, answer.status) == ("failed", status)
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(201, "sent"), (299, "sent"), (400, "failed"), (404, "failed"), (410, "gone"), (500, "failed")],
)
def test_only_2xx_is_success_and_410_is_the_end(status: int, outcome: str) -> None:
    answer, _ = posted(f"HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nbody".encode())
    assert (answer.outcome, answer.status, answer.detail) == (outcome, status, "body")


def test_retry_after_is_read() -> None:
    answer, _ = posted(b"HTTP/1.1 429 X\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n")
    assert (answer.outcome, answer.retry_after_s) == ("failed", 120.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), ("999999999999", 86_400.0), ("-5", 0.0), ("1.5", 0.0), ("", 0.0), ("soon", 0.0), ("²", 0.0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0), ("Thu, 01 Jan 2020 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 86_400.0),
    ],
)  # fmt: skip
def test_retry_after_has_a_number_or_a_date(text: str, seconds: float) -> None:
    assert retry_after_s(text, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


DATES = st.tuples(
    st.sampled_from(["Mon, ", "", "x, "]), st.integers(-99, 10**12).map(str), st.sampled_from([" Jan ", " Foo ", " "]),
    st.integers(0, 10**6).map(str), st.sampled_from([" 00:00:00", " 99:99:99", ""]),
    st.sampled_from([" GMT", " +9999", " -9999", " +1e9", ""]),
).map("".join)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=40) | DATES)
def test_whatever_retry_after_says_it_is_a_wait_of_at_most_a_day(text: str) -> None:
    assert 0.0 <= retry_after_s(text, datetime(2026, 1, 1, tzinfo=UTC)) <= 86_400.0


async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def interim(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("reply", [hang, drip, drip_body, interim])
def test_a_receiver_that_takes_its_time_is_left_when_the_time_is_over(reply: Reply) -> None:
    began = time.monotonic()
    answer, _ = posted(reply, total_s=0.5)
    assert answer == Answer("failed", 0, "no answer within 0.5 s")
    assert time.monotonic() - began < 10


async def endless_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
    for _ in range(1_000):
        writer.write(b"x" * 1_000_000)
        await writer.drain()


async def endless_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    for _ in range(1_000):
        writer.write(b"x" * 1_000_000)
        await writer.drain()


def test_of_a_body_without_end_64_kib_are_read_and_4_kept() -> None:
    answer, _ = posted(endless_body)
    assert (answer.outcome, answer.status, len(answer.detail)) == ("sent", 200, 4_096)


def test_headers_without_end_are_a_failure() -> None:
    answer, _ = posted(endless_headers)
    assert answer.outcome == "failed"
    assert "RemoteProtocolError" in answer.detail


@pytest.mark.parametrize("reply", [b"", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"])
def test_an_answer_that_is_none_is_a_failure(reply: bytes) -> None:
    assert posted(reply)[0].outcome == "failed"


def test_a_name_that_takes_its_time_is_left_when_the_time_is_over() -> None:
    class Hanging(Answers):
        async def addresses(self, host: str, port: int) -> Sequence[str]:
            await asyncio.sleep(60)
            return ()

    assert asyncio.run(poster(Hanging(), total_s=0.2).post("http://a.test/", {}, b"{}")) == Answer(
        "failed", 0, "no answer within 0.2 s"
    )


def test_nobody_listening_is_a_failure() -> None:
    answer = asyncio.run(poster().post("http://localhost:9/", {}, b"{}"))
    assert (answer.outcome, answer.status) == ("failed", 0)
    assert "ConnectError" in answer.detail


def test_a_host_that_is_not_public_is_refused_before_anything_is_sent() -> None:
    async def run() -> tuple[Answer, Receiver]:
        async with receiver(OK) as found:
            strict = poster(allowed=Allowed(frozenset({found.port}), http=True))
            return await strict.post(f"http://localhost:{found.port}/", {}, b"{}"), found

    answer, found = asyncio.run(run())
    assert answer.outcome == "refused"
    assert "127.0.0.1" in answer.detail
    assert found.connections == 0


def test_a_name_that_is_bound_to_another_address_meanwhile_still_leads_to_the_checked_one() -> None:
    """The resolver says 127.0.0.1 once, then for ever another address of this machine, where somebody listens, too."""

    async def run() -> tuple[Answer, int]:
        rebinding = Answers(["127.0.0.1"], ["127.0.0.2"])
        async with receiver(OK) as found:
            trap_hit = 0

            async def trap(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal trap_hit
                trap_hit += 1
                writer.close()

            server = await asyncio.start_server(trap, "127.0.0.2", found.port)
            answer = await poster(rebinding).post(f"http://rebind.test:{found.port}/", {}, b"{}")
            server.close()
            assert found.requests[0].headers["host"] == f"rebind.test:{found.port}"
        return answer, trap_hit

    assert asyncio.run(run()) == (Answer("sent", 200, "ok"), 0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def over_tls(
    authority: trustme.CA, trusted: trustme.CA, name: str, asked: str
) -> tuple[Answer, Receiver, list[str | None]]:
    """Post to a receiver that shows a certificate for `name`, by the name `asked`; also the server names asked for."""
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(shown)
    names: list[str | None] = []
    shown.sni_callback = lambda _, server_name, __: names.append(server_name)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.configure_trust(trusting)

    async def run() -> tuple[Answer, Receiver]:
        async with receiver(OK, tls=shown) as found:
            return await poster(tls=trusting).post(f"https://{asked}:{found.port}/", {}, b"{}"), found

    return *asyncio.run(run()), names


def test_tls_is_with_the_name_though_the_connection_is_to_the_address(authority: trustme.CA) -> None:
    answer, found, names = over_tls(authority, authority, "hooks.example.com", "hooks.example.com")
    assert answer.outcome == "sent"
    assert names == ["hooks.example.com"]
    assert found.requests[0].headers["host"].startswith("hooks.example.com:")


def test_a_certificate_of_another_name_or_of_nobody_we_trust_is_a_failure(authority: trustme.CA) -> None:
    for trusted, name in ((authority, "other.example.com"), (trustme.CA(), "hooks.example.com")):
        answer, found, _ = over_tls(authority, trusted, name, "hooks.example.com")
        assert answer.outcome == "failed"
        assert "CERTIFICATE_VERIFY_FAILED" in answer.detail
        assert found.requests == []


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert posted(OK)[0].outcome == "sent"
