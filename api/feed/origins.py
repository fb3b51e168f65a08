"""Which web pages may open the feed. A browser says its page's origin; programs say none."""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_allowed(origin: str | None, allowed: Collection[str]) -> bool:
    """Whether a connection from `origin` may be accepted: loopback pages, those in `allowed`, and programs.

    `allowed`: whole origins, compared exactly, such as `https://desk.example.com`.

    >>> is_allowed("http://localhost:8000", ()), is_allowed("http://localhost.evil.example", ()), is_allowed(None, ())
    (True, False, True)
    """
    if origin is None or origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK and "@" not in parts.netloc
    except ValueError:
        return False
