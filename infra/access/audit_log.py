"""Who did what, one JSON object a line, in a file that is only ever appended to and whose lines hold on to each other.

Each line carries the seal of the one before, and its own: SHA-256 over all of it, or HMAC-SHA-256 where a key is set, so that
whoever can write the file but has not the key can make no line. A file beside it, the head, keeps the number and the seal of
the newest line: without it nobody could tell that lines are missing at the end. Whoever can restore old copies of both goes
unnoticed, unless a head was noted elsewhere (`tickwire audit verify` prints it, and takes it as `--head`).
"""

import fcntl
import hmac
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

import structlog

from infra.private import private_folder
from infra.seeds import sync_directory
from schemas.errors import AccessError

NOTHING: Final = "0" * 64
"""The seal before the first line."""
MAX_TEXT: Final = 2_000
"""Characters of one detail; more is cut off."""
_SEAL_CHARS: Final = len(',"seal":""}') + 64


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line, and how long the file was behind it."""

    n: int = 0
    seal: str = NOTHING
    size: int = 0


class AuditLog:
    """One audit log; several processes of a machine may write it at once."""

    def __init__(self, path: Path, now_ns: Callable[[], int], key: str = "") -> None:
        self.path, self._now_ns, self._key = path, now_ns, key.encode()
        self.head_path = path.with_suffix(".head")

    def record(self, what: str, who: str, **detail: str) -> None:
        """Append one line; it is on the disk when this returns. Raises: `AccessError` where it could not be written."""
        try:
            with self._locked() as log:
                head = self._go_on(log)
                at = datetime.fromtimestamp(self._now_ns() / 1e9, UTC).isoformat(timespec="microseconds")
                cut = {name: value[:MAX_TEXT] for name, value in detail.items()}
                line = self._sealed(
                    {"n": head.n + 1, "at": at, "what": what, "who": who, "detail": cut, "keyed": bool(self._key),
                     "before": head.seal}
                )  # fmt: skip
                log.write(line + b"\n")
                log.flush()
                os.fsync(log.fileno())
                self._keep(Head(head.n + 1, json.loads(line)["seal"], log.tell()))
        except OSError as error:
            raise AccessError(f"{self.path}: expected to write the audit log, found: {error}") from error

    def head(self) -> Head:
        """The newest line as the head has it. Raises: `AccessError` for a head that is none."""
        try:
            return Head(**json.loads(self.head_path.read_bytes()))
        except FileNotFoundError:
            return Head()
        except (ValueError, TypeError) as error:
            raise AccessError(f"{self.head_path}: expected the head of the audit log, found: {error}") from error

    def seal_of(self, line: bytes, *, keyed: bool) -> str:
        """The seal that a line without its seal must have."""
        return hmac.new(self._key, line, sha256).hexdigest() if keyed else sha256(line).hexdigest()

    @property
    def has_key(self) -> bool:
        """Whether lines are sealed with a key."""
        return bool(self._key)

    def _sealed(self, told: Mapping[str, Any]) -> bytes:
        body = json.dumps(told, ensure_ascii=True, separators=(",", ":")).encode()
        return body[:-1] + f',"seal":"{self.seal_of(body, keyed=self.has_key)}"}}'.encode()

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        private_folder(self.path.parent)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "rb+") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            yield log

    def _go_on(self, log: IO[bytes]) -> Head:
        """Where the chain goes on: at the head, or behind whole lines that a crash kept from it.

        What else has changed stays as it is, and the next line does not fit behind it: `verify` finds it for ever after.
        """
        head, size = self.head(), log.seek(0, os.SEEK_END)
        if size < head.size:
            structlog.get_logger().critical("the audit log was cut off", file=str(self.path))
            return head
        log.seek(head.size)
        for line in log.read().splitlines(keepends=True):
            found = self.read(line)
            if found is None or found["before"] != head.seal or found["n"] != head.n + 1:
                if not line.endswith(b"\n"):  # torn by a crash: nobody was told that it is written
                    log.truncate(head.size)
                else:
                    structlog.get_logger().critical("the audit log was altered", file=str(self.path))
                break
            head = Head(found["n"], found["seal"], head.size + len(line))
        log.seek(0, os.SEEK_END)
        return head

    def read(self, line: bytes) -> dict[str, Any] | None:
        """A line whose seal is right; None for any other."""
        text = line.rstrip(b"\n")
        try:
            found = json.loads(text)
            good = self.seal_of(text[:-_SEAL_CHARS] + b"}", keyed=found["keyed"] is True)
            return found if hmac.compare_digest(found["seal"], good) and line.endswith(b"\n") else None
        except (ValueError, TypeError, KeyError):
            return None

    def _keep(self, head: Head) -> None:
        """The old head or the new one is there, whole, whatever happens; with its name the log's own lasts too."""
        draft = self.head_path.with_suffix(".head.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(json.dumps({"n": head.n, "seal": head.seal, "size": head.size}).encode("ascii"))
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self.head_path)
        sync_directory(self.path.parent)
