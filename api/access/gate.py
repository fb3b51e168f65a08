"""The one place where callers are let in or refused."""

from typing import Final

from starlette.requests import HTTPConnection

from api.access.ports import KEY_PREFIX, Access, Principal
from api.access.scopes import OPEN
from api.blocking import Blocking
from api.problems import Problem

ANONYMOUS: Final = "anonymous"
MAX_CREDENTIAL: Final = 4_096
"""Characters; no key and no sensible token is longer."""
CHALLENGE: Final = {"www-authenticate": 'Bearer realm="tickwire"'}
WANTED: Final = "expected an API key or token, as `Authorization: Bearer …` or `X-API-Key: …`"


class Gate:
    """Judges callers by what they show."""

    def __init__(self, access: Access) -> None:
        self._access, self._blocking = access, Blocking()

    @property
    def anonymous(self) -> frozenset[str]:
        """What callers may do who show nothing."""
        return self._access.anonymous

    async def admit(self, connection: HTTPConnection, scope: str) -> None:
        """Return if the caller has the scope. Raises: `Problem` (unauthenticated, forbidden)."""
        if scope == OPEN:
            return
        credential = shown(connection)
        if credential is None:
            if scope not in self._access.anonymous:
                raise Problem("unauthenticated", f"{WANTED}; found none", headers=CHALLENGE)
            return
        principal = await self.identify(credential)
        connection.state.principal = principal.name
        if scope not in principal.scopes:
            raise Problem("forbidden", f"expected the scope {scope}, which the role {principal.role} does not have")

    async def identify(self, credential: str) -> Principal:
        """Whose the credential is. Raises: `Problem` (unauthenticated), the same for every reason."""
        principal = None
        if len(credential) <= MAX_CREDENTIAL:
            if credential.startswith(KEY_PREFIX):
                principal = self._access.authority.identify(credential)
            else:
                principal = await self._blocking.call(self._access.authority.identify, credential)
        if principal is None:
            raise Problem("unauthenticated", f"{WANTED}; this one is not (or no longer) good", headers=CHALLENGE)
        return principal

    def holds(self, credential: str) -> bool:
        """Whether what was shown when a connection was opened is still good."""
        return self._access.authority.holds(credential)


def shown(connection: HTTPConnection) -> str | None:
    """The credential in the headers; None where there is none. Raises: `Problem` for two, or another way to show one."""
    found = [f"Bearer {key}" for key in connection.headers.getlist("x-api-key")]
    found += connection.headers.getlist("authorization")
    if not found:
        return None
    kind, _, credential = found[0].partition(" ")
    if len(found) > 1 or kind.lower() != "bearer" or not credential.strip():
        raise Problem("unauthenticated", f"{WANTED}; found something else, or more than one", headers=CHALLENGE)
    return credential.strip()
