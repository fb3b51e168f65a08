"""The one place where callers are let in or refused."""

import asyncio
import logging
from functools import partial
from math import ceil
from typing import Final

from starlette.requests import HTTPConnection

from api.access.ports import KEY_PREFIX, Access, Allowance, Principal
from api.access.scopes import KINDS, OPEN
from api.blocking import Blocking
from api.problems import Problem
from schemas.errors import AccessError

MAX_CREDENTIAL: Final = 4_096
"""Characters; no key and no sensible token is longer."""
LOGIN_S: Final = 3_600.0
RECORDED: Final = frozenset({"sql", "write"})
"""Kinds of requests of which every one goes into the audit log."""
CHALLENGE: Final = {"www-authenticate": 'Bearer realm="tickwire"'}
_log = logging.getLogger("tickwire.api")
WANTED: Final = "expected an API key or token, as `Authorization: Bearer …` or `X-API-Key: …`"


class Gate:
    """Judges callers by what they show."""

    def __init__(self, access: Access) -> None:
        self._access, self._blocking, self._auditing = access, Blocking(), Blocking(1)
        self._seen: dict[str, float] = {}

    @property
    def anonymous(self) -> frozenset[str]:
        """What callers may do who show nothing."""
        return self._access.anonymous

    async def admit(self, connection: HTTPConnection, scope: str) -> None:
        """Return if the caller has the scope, and has not asked too often. Raises: `Problem`."""
        if scope == OPEN:
            return
        who, kind = await self._permitted(connection, scope), KINDS.get(scope, "read")
        allowance = await self.spend(who, kind)
        connection.state.caller, connection.state.allowance = who, allowance
        if allowance is not None and not allowance.allowed:
            raise too_many(allowance)
        if kind in RECORDED:
            await self._record("asked", who, connection, method=connection.scope.get("method", ""), scope=scope)

    async def spend(self, who: str, kind: str) -> Allowance | None:
        """Count one request; None where nothing is limited."""
        return None if self._access.limiter is None else await self._access.limiter.hit(who, kind)

    async def _permitted(self, connection: HTTPConnection, scope: str) -> str:
        """The name under which requests are counted."""
        credential = await self.shown(connection)
        if credential is None:
            if scope not in self._access.anonymous:
                raise await self.refused(connection, f"{WANTED}; found none")
            return address_of(connection)
        principal = await self.identify(connection, credential)
        if scope not in principal.scopes:
            detail = f"expected the scope {scope}, which the role {principal.role} does not have"
            raise await self._refusal(connection, principal.name, Problem("forbidden", detail))
        return principal.name

    async def shown(self, connection: HTTPConnection) -> str | None:
        """The credential in the headers; None where there is none. Raises: `Problem` for two, or another way to show one."""
        found = [f"Bearer {key}" for key in connection.headers.getlist("x-api-key")]
        found += connection.headers.getlist("authorization")
        if not found:
            return None
        kind, _, credential = found[0].partition(" ")
        if len(found) > 1 or kind.lower() != "bearer" or not credential.strip():
            raise await self.refused(connection, f"{WANTED}; found something else, or more than one")
        return credential.strip()

    async def refused(self, connection: HTTPConnection, detail: str) -> Problem:
        """The refusal of somebody unknown, who is told to wait where there have been many from the same address."""
        return await self._refusal(
            connection, address_of(connection), Problem("unauthenticated", detail, headers=CHALLENGE)
        )

    async def _refusal(self, connection: HTTPConnection, who: str, problem: Problem) -> Problem:
        """Keep account of it; but not of more than so many, for they would fill the disk."""
        allowance = await self.spend(who, "refused")
        if allowance is not None and not allowance.allowed:
            return too_many(allowance)
        await self._record("refused", who, connection, problem=problem.kind, reason=problem.detail)
        return problem

    async def _record(self, what: str, who: str, connection: HTTPConnection, **detail: str) -> None:
        if self._access.audit is None:
            return
        about = {"address": address_of(connection), "path": connection.url.path, **detail}
        try:
            await self._auditing.call(partial(self._access.audit.record, what, who, **about))
        except AccessError:
            _log.critical("the audit log was not written", exc_info=True)

    async def identify(self, connection: HTTPConnection, credential: str) -> Principal:
        """Whose the credential is. Raises: `Problem`, the same for every reason."""
        principal = None
        if len(credential) <= MAX_CREDENTIAL:
            if credential.startswith(KEY_PREFIX):
                principal = self._access.authority.identify(credential)
            else:
                principal = await self._blocking.call(self._access.authority.identify, credential)
        if principal is None:
            raise await self.refused(connection, f"{WANTED}; this one is not (or no longer) good")
        await self._note_login(connection, principal)
        return principal

    async def _note_login(self, connection: HTTPConnection, principal: Principal) -> None:
        """Somebody's first request in an hour."""
        now = asyncio.get_running_loop().time()
        if now - self._seen.get(principal.name, float("-inf")) > LOGIN_S:
            self._seen[principal.name] = now
            await self._record("login", principal.name, connection, role=principal.role)

    def holds(self, credential: str) -> bool:
        """Whether what was shown when a connection was opened is still good."""
        return self._access.authority.holds(credential)


def address_of(connection: HTTPConnection) -> str:
    """Whoever has no name is counted by where they come from."""
    return f"address {connection.client.host}" if connection.client is not None else "address unknown"


def too_many(allowance: Allowance) -> Problem:
    """More than the rate allows."""
    return Problem(
        "too-many-requests",
        f"expected at most {allowance.limit} requests of the kind {allowance.kind} in {allowance.window_s:g} s",
        headers={"retry-after": str(max(1, ceil(allowance.reset_s))), **rate_headers(allowance)},
    )


def rate_headers(allowance: Allowance) -> dict[str, str]:
    """As the IETF's draft has them (draft-ietf-httpapi-ratelimit-headers)."""
    return {
        "ratelimit-policy": f'"{allowance.kind}";q={allowance.limit};w={allowance.window_s:g}',
        "ratelimit": f'"{allowance.kind}";r={allowance.remaining};t={ceil(allowance.reset_s)}',
    }
