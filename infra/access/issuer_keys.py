"""The public keys of a token issuer, fetched from its JWKS address and kept for a while.

Whoever sends tokens with made-up key ids must not make us ask the issuer each time: an unknown id leads to a new fetch at most
once in `RETRY_S`. Keys that we have go on counting for `STALE_S` while the issuer does not answer, and then nobody's do.
"""

import threading
import time
from collections.abc import Mapping
from typing import Final

import httpx2
import jwt
import structlog

FRESH_S: Final = 600.0
RETRY_S: Final = 10.0
STALE_S: Final = 86_400.0
TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100


class IssuerKeys:
    """Keys by their id; safe to use from several threads."""

    def __init__(self, url: str, *, ca_file: str = "") -> None:
        self._url = url
        self._client = httpx2.Client(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False, verify=ca_file or True)
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self.fetches = 0

    def get(self, key_id: str) -> jwt.PyJWK | None:
        """The key of this id; None where the issuer has none, or has not answered for too long."""
        with self._lock:
            age = time.monotonic() - self._fetched
            due = age > FRESH_S or key_id not in self._keys
            if due and time.monotonic() - self._tried > RETRY_S:
                self._fetch()
            return self._keys.get(key_id) if time.monotonic() - self._fetched < STALE_S else None

    def _fetch(self) -> None:
        self._tried = time.monotonic()
        self.fetches += 1
        try:
            self._keys = _public(self._document())
            self._fetched = time.monotonic()
        except (httpx2.HTTPError, jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError) as error:
            structlog.get_logger().error("the keys of the token issuer", url=self._url, reason=str(error)[:500])

    def _document(self) -> bytes:
        body = bytearray()
        with self._client.stream("GET", self._url) as answer:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise ValueError(f"expected at most {MAX_BYTES} bytes, found more")
        return bytes(body)


def _public(document: bytes) -> Mapping[str, jwt.PyJWK]:
    """Keys that have an id and may sign. Symmetric ones are left out: whoever can read them could make tokens."""
    found = jwt.PyJWKSet.from_json(document.decode()).keys[:MAX_KEYS]
    return {
        key.key_id: key
        for key in found
        if key.key_id and key.key_type in {"RSA", "EC", "OKP"} and key.public_key_use in {None, "sig"}
    }
