"""Who may call the API of this installation."""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from api.access.ports import KEY_PREFIX, Access, Principal
from api.ports import Meter
from infra.access.audited import audit_log
from infra.access.dev_key import LOOPBACK, dev_key, still_good, wants_dev_key
from infra.access.keys import KeyFile, key_file
from infra.access.rates import RateLimiter
from infra.access.tokens import TokenReader, token_reader
from infra.settings import Settings


@dataclass(frozen=True)
class Callers:
    """`api.access.ports.Authority` over the key file, an issuer's tokens, and the dev key where there is one."""

    keys: KeyFile
    tokens: TokenReader | None
    dev: str = ""

    def identify(self, credential: str) -> Principal | None:
        if not credential.startswith(KEY_PREFIX):
            return None if self.tokens is None else self.tokens.identify(credential)
        if self.dev and hmac.compare_digest(credential.encode("utf-8", "surrogatepass"), self.dev.encode()):
            return Principal("dev key", "admin")
        key = self.keys.find(credential)
        return None if key is None else Principal(f"key {key.id}", key.role)

    def holds(self, credential: str) -> bool:
        if self.tokens is not None and not credential.startswith(KEY_PREFIX):
            return self.tokens.holds(credential)
        return self.identify(credential) is not None


@contextmanager
def access(settings: Settings, meter: Meter) -> Iterator[Access]:
    """How callers of the API process are judged, while the block lasts. Raises: `SettingsError`, `AccessError`."""
    keys, tokens = key_file(settings), token_reader(settings.api.tokens)
    anonymous = frozenset({"metrics:read"} if settings.api.host in LOOPBACK else ())  # as the scoring process's are
    limiter = RateLimiter(settings.api.rates, settings.redis.url.get_secret_value(), meter)
    made = dev_key(settings.data, fresh=False) if wants_dev_key(settings) else nullcontext(still_good(settings))
    with made as dev:
        yield Access(Callers(keys, tokens, dev), anonymous, limiter, audit_log(settings))
