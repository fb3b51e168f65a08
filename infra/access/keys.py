"""API keys in a file: who may call the API, and until when.

A file, because it must survive what our other stores do not (the embedded Redis keeps nothing), must be there before any
service runs (binding beyond loopback is refused without a key), and must be readable while ClickHouse is down. Every API
process looks at it twice a second, so a revocation is seen by all of them at once; machines share it as they share any
configuration: a volume, a mounted secret. A file that is gone or broken lets nobody in.
"""

import fcntl
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from api.access.ports import KEY_PREFIX
from api.access.scopes import ROLES
from infra.clock import WallClock
from infra.private import private_folder
from infra.seeds import sync_directory
from infra.settings import Settings
from schemas.errors import AccessError

LOOK_S: Final = 0.5
ID_BYTES: Final = 5
SECRET_BYTES: Final = 32
_NO_HASH: Final = "0" * 64


class Key(Struct, frozen=True, kw_only=True):
    """One key as it is kept; times in ns since the Unix epoch. The key itself is shown once, and kept nowhere."""

    id: str
    name: str
    role: str
    sha256: str
    """Of the whole key. A fast hash is right here: the secret has 256 random bits, so no list of guesses can hold it, and a
    slow one (argon2, bcrypt), made for what people choose, would cost every request a tenth of a second."""
    created: int
    expires: int | None = None
    revoked: int | None = None

    def state(self, now_ns: int) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now_ns else "active"


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    keys: tuple[Key, ...]


Note = Callable[[Key], None]


def _nobody(key: Key) -> None:
    """Told of changes that nobody keeps account of."""


class KeyFile:
    """The keys of a file, read again when it has changed; safe to use from several threads and processes."""

    def __init__(self, path: Path, now_ns: Callable[[], int]) -> None:
        self.path, self._now_ns = path, now_ns
        self._lock = threading.Lock()
        self._looked = -LOOK_S
        self._stamp: tuple[int, ...] | None = None
        self._wrong = ""
        """Why no key is good, where that was said already."""
        self._keys: Mapping[str, Key] = {}

    def find(self, credential: str) -> Key | None:
        """The active key that this is; the same work whether its id, its secret or neither is known."""
        key = self._current().get(credential.removeprefix(KEY_PREFIX).partition("_")[0])
        shown = sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()
        right = hmac.compare_digest(shown, key.sha256 if key is not None else _NO_HASH)
        return key if right and key is not None and key.state(self._now_ns()) == "active" else None

    def all(self) -> list[Key]:
        """Every key, oldest first. Raises: `AccessError` for a file that is not ours or that others may write."""
        return sorted(self._read().values(), key=lambda key: key.created)

    def any_active(self) -> bool:
        """Whether anybody could come in. Raises: `AccessError`."""
        return any(key.state(self._now_ns()) == "active" for key in self.all())

    def create(self, name: str, role: str, lifetime: timedelta | None, note: Note = _nobody) -> tuple[Key, str]:
        """A new key, and what to show to the API: the only time that it is seen. Raises: `AccessError`.

        note   is told before it counts, and may raise to prevent it
        """
        if role not in ROLES:
            raise AccessError(f"expected one of the roles {', '.join(ROLES)}; was {role!r}")
        if not 0 < len(name) <= 64 or not name.isprintable():
            raise AccessError(f"expected a name of 1 to 64 printable characters, was {name[:80]!r}")
        now, id_ = self._now_ns(), secrets.token_hex(ID_BYTES)
        credential = f"{KEY_PREFIX}{id_}_{secrets.token_urlsafe(SECRET_BYTES)}"
        expires = None if lifetime is None else now + round(lifetime.total_seconds() * 1e9)
        key = Key(
            id=id_, name=name, role=role, sha256=sha256(credential.encode()).hexdigest(), created=now, expires=expires
        )
        with self._writing() as keys:
            note(key)
            keys[id_] = key
        return key, credential

    def revoke(self, id_: str, note: Note = _nobody) -> Key:
        """End a key for good; one that was revoked stays as it is. Raises: `AccessError` where there is none."""
        with self._writing() as keys:
            if id_ not in keys:
                raise AccessError(f"no key has the id {id_[:40]!r}; `tickwire keys list` shows them")
            if keys[id_].revoked is None:
                note(keys[id_])
                keys[id_] = msgspec.structs.replace(keys[id_], revoked=self._now_ns())
            return keys[id_]

    def _current(self) -> Mapping[str, Key]:
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_S:
                self._looked = time.monotonic()
                self._look()
            return self._keys

    def _look(self) -> None:
        """Read the file where it has changed; nobody is let in by one that cannot be trusted."""
        stamp, wrong = None, ""
        try:
            status = self.path.stat()
            # a change of its mode alone moves ctime, and that in steps of some milliseconds
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_mode, status.st_ino, status.st_size)
            if stamp != self._stamp:
                self._keys = self._read()
        except FileNotFoundError:
            self._keys = {}
        except AccessError as error:
            self._keys, wrong = {}, str(error)
        except OSError as error:  # it may pass, and leave the file as it is
            self._keys, stamp, wrong = {}, None, str(error)
        if wrong not in ("", self._wrong):
            structlog.get_logger().critical("no key is good any more", reason=wrong)
        self._stamp, self._wrong = stamp, wrong

    def _read(self) -> dict[str, Key]:
        if not self.path.exists():
            return {}
        if self.path.stat().st_mode & 0o022:
            raise AccessError(f"{self.path}: expected a file that only its owner may write; chmod 600 it")
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AccessError(f"{self.path}: expected the keys that `tickwire keys` writes, found: {error}") from error
        if found.version != 1 or any(key.role not in ROLES for key in found.keys):
            raise AccessError(f"{self.path}: expected version 1 and roles among {', '.join(ROLES)}; found others")
        return {key.id: key for key in found.keys}

    @contextmanager
    def _writing(self) -> Iterator[dict[str, Key]]:
        """The keys to change, one writer at a time; readers see the old file or the new one, whole, and it stays written."""
        private_folder(self.path.parent)
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self._read()
            yield keys
            draft = self.path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(_File(version=1, keys=tuple(keys.values())))) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            draft.replace(self.path)
            sync_directory(self.path.parent)


def key_file(settings: Settings) -> KeyFile:
    """The keys of this installation."""
    return KeyFile(settings.api.keys or settings.data / "access" / "keys.json", WallClock().now_ns)
