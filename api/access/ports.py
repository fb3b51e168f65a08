"""What deciding about a caller needs from outside; infra has the adapters, tests have lists."""

from dataclasses import dataclass
from typing import Final, Protocol

from api.access.scopes import ROLES

KEY_PREFIX: Final = "tk_"
"""What every API key begins with; anything else that is shown to us is taken for a token."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has shown a credential. `name`: for logs and limits, never the credential itself."""

    name: str
    role: str

    @property
    def scopes(self) -> frozenset[str]:
        """What the role may do."""
        return ROLES[self.role]


class Authority(Protocol):
    """Says whose a credential is. Keys are answered from memory; a token may have to wait for its issuer's keys."""

    def identify(self, credential: str) -> Principal | None:
        """Whose it is; None for one that is unknown, wrong, revoked or over, without saying which."""

    def holds(self, credential: str) -> bool:
        """Whether a credential that was good still is. From memory, for it is asked each second for every connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What is left of a rate: `limit` requests of this kind in `window_s`, `remaining` of them, whole again in `reset_s`."""

    kind: str
    allowed: bool
    limit: int
    window_s: float
    remaining: int
    reset_s: float


class Limiter(Protocol):
    """How often callers may ask. Must always answer: a request waits for it."""

    async def hit(self, who: str, kind: str) -> Allowance:
        """Count one request, and say whether it may go on."""

    async def close(self) -> None:
        """Let go of what was opened for it."""


class Audit(Protocol):
    """Where it is kept who did what. Blocks."""

    def record(self, what: str, who: str, **detail: str) -> None:
        """One line, for good. Raises: `AccessError`."""


@dataclass(frozen=True)
class Access:
    """Everything by which callers are judged."""

    authority: Authority
    anonymous: frozenset[str] = frozenset()
    """Scopes of a caller who shows nothing."""
    limiter: Limiter | None = None
    """Without one, everybody may ask as often as they like: for tests and benches."""
    audit: Audit | None = None
    """Without one, nothing is recorded: for tests and benches."""
