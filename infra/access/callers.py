"""Who may call the API of this installation."""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from api.access.ports import KEY_PREFIX, Access, Principal
from api.ports import Meter
from infra.access.audited import audit_log
from infra.access.dev_key import LOOPBACK, dev_key
from infra.access.keys import KeyFile
from infra.access.rates import RateLimiter
from infra.access.tokens import TokenReader, token_reader
from infra.clock import WallClock
from infra.settings import Settings
from schemas.errors import SettingsError


@dataclass(frozen=True)
class Callers:
    """`api.access.ports.Authority` over the key file, an issuer's tokens, and the dev key where there is one."""

    keys: KeyFile
    tokens: TokenReader | None
    dev: str = ""

    def identify(self, credential: str) -> Principal | None:
        if not credential.startswith(KEY_PREFIX):
            return None if self.tokens is None else self.tokens.identify(credential)
        if self.dev and hmac.compare_digest(credential.encode(), self.dev.encode()):
            return Principal("dev key", "admin")
        key = self.keys.find(credential)
        return None if key is None else Principal(f"key {key.id}", key.role)

    def holds(self, credential: str) -> bool:
        if self.tokens is not None and not credential.startswith(KEY_PREFIX):
            return self.tokens.holds(credential)
        return self.identify(credential) is not None


def key_file(settings: Settings) -> KeyFile:
    """The keys of this installation."""
    return KeyFile(settings.api.keys or settings.data / "access" / "keys.json", WallClock().now_ns)


def wants_dev_key(settings: Settings) -> bool:
    """Whether this run needs a key of its own: nobody has made one, and no issuer is set.

    Raises: `SettingsError` where others could reach us.
    """
    if key_file(settings).any_active() or token_reader(settings.api.tokens) is not None:
        return False
    if settings.api.host not in LOOPBACK:
        raise SettingsError(
            f"TICKWIRE_API__HOST: expected a loopback address as long as there are no API keys, was {settings.api.host!r}; "
            "make one first: tickwire keys create NAME --role viewer"
        )
    return True


@contextmanager
def access(settings: Settings, meter: Meter) -> Iterator[Access]:
    """How callers of the API process are judged, while the block lasts. Raises: `SettingsError`, `AccessError`."""
    keys, tokens = key_file(settings), token_reader(settings.api.tokens)
    anonymous = frozenset({"metrics:read"} if settings.api.host in LOOPBACK else ())  # as the scoring process's are
    limiter = RateLimiter(settings.api.rates, settings.redis.url.get_secret_value(), meter)
    with dev_key(settings.data, fresh=False) if wants_dev_key(settings) else nullcontext("") as dev:
        yield Access(Callers(keys, tokens, dev), anonymous, limiter, audit_log(settings))


def told_where(data: Path) -> str:
    """How a user of `tickwire api` gets at the key."""
    return (
        f"there are no API keys yet; this run's own is in {data / 'dev-key'} (tickwire keys create makes lasting ones)"
    )
