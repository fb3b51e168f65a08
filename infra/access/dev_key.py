"""The key of one run on one machine: made where nobody has made keys and only this machine can reach us."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from api.access.ports import KEY_PREFIX
from infra.access.keys import key_file
from infra.embedded.instance import read_run_state
from infra.private import private_folder
from infra.settings import Settings
from schemas.errors import SettingsError

FILE: Final = "dev-key"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def read(data: Path) -> str:
    """The key of what runs on this data directory; empty where there is none."""
    try:
        return (data / FILE).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def wants_dev_key(settings: Settings) -> bool:
    """Whether this run needs a key of its own: nobody has made one, and no issuer is set.

    Raises: `SettingsError` where others could reach us.
    """
    if key_file(settings).any_active() or settings.api.tokens.jwks_url:
        return False
    if settings.api.host not in LOOPBACK:
        raise SettingsError(
            f"TICKWIRE_API__HOST: expected a loopback address as long as there are no API keys, was {settings.api.host!r}; "
            "make one first: tickwire keys create NAME --role viewer"
        )
    return True


@contextmanager
def dev_key(data: Path, *, fresh: bool) -> Iterator[str]:
    """A key as long as the block lasts, in a file that only its owner can read.

    fresh   one that a killed run has left is thrown away; else it is used, and left to whoever made it
    """
    path = data / FILE
    private_folder(data)
    if fresh:
        path.unlink(missing_ok=True)
    made = False
    with suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(f"{KEY_PREFIX}dev_{secrets.token_urlsafe(32)}\n")
        made = True
    try:
        yield read(data)
    finally:
        if made:
            path.unlink(missing_ok=True)


@contextmanager
def key_of_run(settings: Settings) -> Iterator[None]:
    """The key of an `up`, as long as the block lasts, where it needs one; what a killed run has left is gone in any case."""
    (settings.data / FILE).unlink(missing_ok=True)
    with dev_key(settings.data, fresh=True) if wants_dev_key(settings) else nullcontext():
        yield


def still_good(settings: Settings) -> str:
    """The key that the `up` on this directory has told, which ends with it alone, whoever makes lasting ones meanwhile."""
    if settings.api.host not in LOOPBACK or read_run_state(settings.data) is None:
        return ""
    return read(settings.data)


def own_headers(settings: Settings) -> dict[str, str]:
    """What our own commands show to the API: the key that was set, else the one of this machine's run."""
    key = settings.api.key.get_secret_value() or read(settings.data)
    return {"authorization": f"Bearer {key}"} if key else {}


def told_where(data: Path) -> str:
    """How a user of `tickwire api` gets at the key."""
    return f"there are no API keys yet; this run's own is in {data / FILE} (tickwire keys create makes lasting ones)"
