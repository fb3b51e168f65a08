"""URLs that alerts may be posted to: their form, and the addresses behind them."""

import asyncio
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit

from infra.hooks.addresses import why_refused
from schemas.errors import TargetRefused
from schemas.hooks import MAX_TARGET

_TEXT: Final = re.compile(r"[!-~]+", re.ASCII)
_FORBIDDEN: Final = frozenset('\\"<>^`{|}#')
_NAME: Final = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.?"
)
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")
_DOTTED: Final = re.compile(r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}", re.ASCII)
_V6: Final = re.compile(r"[0-9a-f:.]+")
THREADS: Final = 64
DEFAULT_PORT: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the settings allow. `loopback` allows 127/8 and ::1, there http and every port, and nothing else."""

    ports: frozenset[int]
    http: bool = False
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in parts, read once, so that nothing behind us reads it in another way."""

    scheme: str
    host: str
    """Without brackets."""
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT[self.scheme] else f"{host}:{self.port}"


class Resolver(Protocol):
    """Names to addresses."""

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Every address of the host; `OSError` where there is none."""


class SystemResolver:
    """`Resolver` as every other program of this machine has it, in threads of its own: names that hang hold up no others."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="names")

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def parse(url: str, allowed: Allowed) -> Target:
    """The URL in parts. `TargetRefused` names what is wrong with its form; addresses are judged at each connection."""
    if len(url) > MAX_TARGET or not _TEXT.fullmatch(url) or not _FORBIDDEN.isdisjoint(url):
        raise TargetRefused(
            f"expected a URL of at most {MAX_TARGET} printable ASCII characters, no fragment, found {url[:100]!r}"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise TargetRefused(f"expected a URL such as https://hooks.example.com/alerts, {error}") from error
    if parts.scheme not in DEFAULT_PORT or not url.lower().startswith(f"{parts.scheme}://"):
        raise TargetRefused(f"expected https://, found {url[:40]!r}")
    if "@" in parts.netloc:
        raise TargetRefused("expected no user or password in the URL; the signature says who we are")
    _check_host(host, bracketed=parts.netloc.startswith("["))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(parts.scheme, host, DEFAULT_PORT[parts.scheme] if port is None else port, path)
    if not allowed.loopback:
        _check_way(target, allowed)
    return target


def _check_host(host: str, *, bracketed: bool) -> None:
    if bracketed:
        if not _V6.fullmatch(host):
            raise TargetRefused(f"expected an IPv6 address without a zone, found [{host}]")
    elif not _NAME.fullmatch(host):
        raise TargetRefused(f"expected a host name in ASCII (punycode where it has other letters), found {host!r}")
    elif _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _DOTTED.fullmatch(host):
        raise TargetRefused(f"expected an IPv4 address as four decimal numbers, found {host!r}")


def _check_way(target: Target, allowed: Allowed) -> None:
    if target.scheme == "http" and not allowed.http:
        raise TargetRefused("expected https://, found http://; TICKWIRE_HOOKS__HTTP allows it")
    if target.port not in allowed.ports:
        ports = ", ".join(map(str, sorted(allowed.ports)))
        raise TargetRefused(
            f"expected one of the ports {ports}, found {target.port}; TICKWIRE_HOOKS__PORTS allows more"
        )


async def checked_address(target: Target, allowed: Allowed, resolver: Resolver) -> str:
    """The one address to connect to, after every address of the host was judged. Asks the resolver once.

    `TargetRefused` where any of them is not public: a host with a public and a private address is no honest host.
    """
    found = await resolver.addresses(target.host, target.port)
    if not found:
        raise TargetRefused(f"{target.host} has no address")
    for address in found:
        if why := why_refused(address, loopback=allowed.loopback):
            raise TargetRefused(f"{target.host}: {why}")
    if not (allowed.loopback and all(not why_refused(each, loopback=True) and why_refused(each) for each in found)):
        _check_way(target, allowed)
    return found[0]
