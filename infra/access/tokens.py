"""Tokens (JWT) of an identity provider: who has signed them, for whom, until when, and which role they give.

What is trusted is written in the settings and nowhere else: the algorithms, the issuer, the audience, the address of its
keys. Nothing in a token's own header (`alg`, `jwk`, `jku`, `x5u`) chooses how it is checked; `kid` only picks among the
issuer's keys.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import jwt
import structlog

from api.access.ports import Principal
from api.access.scopes import ROLES
from infra.access.issuer_keys import IssuerKeys
from infra.settings import Tokens
from schemas.errors import SettingsError

SIGNED_WITH: Final = ("RS256", "ES256")
REQUIRED: Final = ("exp", "iat", "iss", "aud", "sub")
LONGEST: Final = 64
"""Characters of a caller's name; it is told in logs and in the audit."""
FORBIDDEN_HEADERS: Final = frozenset({"crit", "jwk", "jku", "x5u", "x5c"})
_OWN_TYPE: Final = (None, "JWT", "at+jwt")
_MALFORMED: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What comes of a token in which anything is of another type, length or depth than it should be."""


@dataclass(frozen=True)
class TokenReader:
    """Tokens of one issuer."""

    settings: Tokens
    keys: IssuerKeys

    def identify(self, token: str) -> Principal | None:
        """Whose the token is; None where it is not good, and why goes to our log, never the token."""
        try:
            claims = self._claims(token)
            return Principal(f"token {_short(claims['sub'])}", _role(claims, self.settings))
        except _MALFORMED as error:
            structlog.get_logger().info("token refused", reason=f"{type(error).__name__}: {str(error)[:200]}")
            return None

    def holds(self, token: str) -> bool:
        """Whether a token whose signature was good is not over."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            return float(claims["exp"]) + self.settings.leeway.total_seconds() > time.time()
        except (*_MALFORMED, KeyError):
            return False

    def _claims(self, token: str) -> Mapping[str, Any]:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in SIGNED_WITH:
            raise ValueError(f"expected an algorithm of {', '.join(SIGNED_WITH)}")
        if forbidden := FORBIDDEN_HEADERS & header.keys():
            raise ValueError(f"expected no {', '.join(sorted(forbidden))} in the header")
        if header.get("typ") not in _OWN_TYPE or not isinstance(header.get("kid"), str):
            raise ValueError("expected the type JWT and a key id")
        key = self.keys.get(header["kid"])
        if key is None or key.algorithm_name not in SIGNED_WITH:
            raise ValueError("the issuer has no such key")
        return jwt.decode(
            token, key.key, algorithms=[key.algorithm_name], issuer=self.settings.issuer, audience=self.settings.audience,
            leeway=self.settings.leeway, options={"require": list(REQUIRED), "strict_aud": False},
        )  # fmt: skip


def _short(subject: str) -> str:
    """At most `LONGEST` characters of it; what is longer ends with its hash, so that two subjects stay two callers."""
    if len(subject) <= LONGEST:
        return subject
    mark = f"…{sha256(subject.encode(errors='surrogatepass')).hexdigest()[:16]}"
    return subject[: LONGEST - len(mark)] + mark


def _role(claims: Mapping[str, Any], settings: Tokens) -> str:
    """The highest role in the claim, which may be a text or a list. Raises: `ValueError` where there is none of ours."""
    found: Any = claims
    for part in settings.role_claim.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    given = [found] if isinstance(found, str) else found if isinstance(found, Sequence) else []
    roles = [role for role in ROLES if role in given]
    if not roles:
        raise ValueError(f"expected a role of ours in the claim {settings.role_claim}")
    return roles[-1]


def token_reader(settings: Tokens) -> TokenReader | None:
    """Where an issuer is set. Raises: `SettingsError` for half of what is needed."""
    given = {"ISSUER": settings.issuer, "AUDIENCE": settings.audience, "JWKS_URL": settings.jwks_url}
    if not any(given.values()):
        return None
    if missing := [name for name, value in given.items() if not value]:
        raise SettingsError(
            f"TICKWIRE_API__TOKENS__{missing[0]}: expected it beside the other two, for tokens need issuer, audience and keys"
        )
    local = settings.jwks_url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:"))
    if not settings.jwks_url.startswith("https://") and not local:
        raise SettingsError(f"TICKWIRE_API__TOKENS__JWKS_URL: expected https://, was {settings.jwks_url!r}")
    return TokenReader(settings, IssuerKeys(settings.jwks_url, ca_file=settings.ca_file))
