"""One guarded POST: to a checked address and no other, without redirects or proxies, bounded in time and size.

Each attempt resolves once, judges every address, and connects to the judged one; certificate and `Host` are still those of
the name. An answer that differs the next time (DNS rebinding) therefore changes nothing.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore2

from infra.hooks.channel import EXCERPT, GONE, Answer, failed
from infra.hooks.targets import Allowed, Resolver, Target, checked_address, parse
from schemas.errors import TargetRefused

CONNECT_S: Final = 5.0
MAX_ANSWER: Final = 65_536
MAX_RETRY_AFTER_S: Final = 86_400.0
USER_AGENT: Final = "tickwire"


@dataclass(frozen=True)
class Poster:
    """Posts to the targets that are allowed. `tls`: which certificates are trusted."""

    allowed: Allowed
    resolver: Resolver
    tls: ssl.SSLContext
    total_s: float
    connect_s: float = CONNECT_S

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer, or why there is none; whatever the receiver does, within `total_s` and 64 KiB."""
        try:
            async with asyncio.timeout(self.total_s):
                target = parse(url, self.allowed)
                async with asyncio.timeout(self.connect_s):
                    address = await checked_address(target, self.allowed, self.resolver)
                return await self._exchange(target, address, headers, body)
        except TargetRefused as error:
            return Answer("refused", 0, str(error)[:EXCERPT])
        except TimeoutError:
            return failed(f"no answer within {self.total_s:g} s")
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            return failed(f"{type(error).__name__}: {error}")

    async def _exchange(self, target: Target, address: str, headers: Mapping[str, str], body: bytes) -> Answer:
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        ours = {
            "host": target.authority, "user-agent": USER_AGENT, "content-type": "application/json", "connection": "close",
            "content-length": str(len(body)),
        }  # fmt: skip
        sent: list[tuple[bytes | str, bytes | str]] = [*ours.items(), *headers.items()]
        pool = httpcore2.AsyncConnectionPool(
            ssl_context=self.tls, max_keepalive_connections=0, network_backend=_Pinned(address)
        )
        timeouts = {"connect": self.connect_s, "read": self.total_s, "write": self.total_s, "pool": self.total_s}
        async with (
            pool,
            pool.stream("POST", url, headers=sent, content=body, extensions={"timeout": timeouts}) as response,
        ):
            return await _answer(response)


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to one address, whatever name it is asked for."""

    def __init__(self, address: str) -> None:
        self._address, self._network = address, httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the name that was checked; its address is known
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return await self._network.connect_tcp(self._address, port, timeout, local_address, socket_options)


async def _answer(response: httpcore2.Response) -> Answer:
    """2xx alone is success; 3xx is a failure like any other. The body is read no further than 64 KiB."""
    body = b""
    async for chunk in response.aiter_stream():
        body += chunk[: MAX_ANSWER - len(body)]
        if len(body) >= MAX_ANSWER:
            break
    text, status = body[:EXCERPT].decode(errors="replace"), response.status
    if 200 <= status < 300:
        return Answer("sent", status, text)
    after = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    outcome = Answer("gone", status, text) if status == GONE else failed(text, status)
    return Answer(outcome.outcome, status, text, retry_after_s(after.decode("latin-1"), datetime.now(UTC)))


def retry_after_s(text: str, now: datetime) -> float:
    """Seconds of a header Retry-After, which has a number or a date; 0 where it says nothing, a day at most.

    >>> retry_after_s("120", datetime(2026, 1, 1, tzinfo=UTC))
    120.0
    """
    if text.strip().isascii() and text.strip().isdigit():
        return min(float(text.strip()[:9]), MAX_RETRY_AFTER_S)
    with contextlib.suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(text)
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return min(max((aware - now).total_seconds(), 0.0), MAX_RETRY_AFTER_S)
    return 0.0
