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


@dataclass(frozen=True)
class Access:
    """Everything by which callers are judged."""

    authority: Authority
    anonymous: frozenset[str] = frozenset()
    """Scopes of a caller who shows nothing."""
