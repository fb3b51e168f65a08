"""An authority as a list of keys."""

from dataclasses import dataclass, field
from typing import Final

from api.access.ports import Access, Principal
from api.access.scopes import ROLES, SCOPES


@dataclass
class Keys:
    """`Authority`: `tk_viewer` is a viewer's key, and so on, until it is taken away; `token-viewer` is a viewer's token."""

    gone: set[str] = field(default_factory=set)

    def identify(self, credential: str) -> Principal | None:
        role = credential.removeprefix("tk_").removeprefix("token-")
        if role not in ROLES or credential == role or not self.holds(credential):
            return None
        return Principal(f"key {role}", role)

    def holds(self, credential: str) -> bool:
        return credential not in self.gone


EVERYBODY: Final = Access(Keys(), anonymous=frozenset(SCOPES))
"""Everybody may do everything: for tests that are not about who may do what."""
