"""The address of Redis as a setting: one that its client could not read is refused with all other wrong settings."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


def _readable(url: SecretStr) -> SecretStr:
    if url.get_secret_value() and not _is_readable(url.get_secret_value()):
        raise PydanticCustomError(
            "redis_url",
            "expected redis://[user:password@]host:port/db, rediss:// for TLS or unix://; write / # and @ in a password as "
            "%2F %23 and %40",
        )
    return url


def _is_readable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.port != 0 and parts.scheme in SCHEMES
    except ValueError:  # no port, or no address
        return False


RedisUrl = Annotated[SecretStr, AfterValidator(_readable)]
"""Empty where an embedded one is started."""
