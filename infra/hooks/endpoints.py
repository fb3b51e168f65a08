"""The endpoints and their secrets."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from infra.hooks.database import Database
from infra.hooks.signing import new_secret
from schemas.errors import TargetRefused, UnknownEndpoint
from schemas.hooks import Endpoint, NewEndpoint, Secret

SIGNED: Final = frozenset({"webhook"})
"""Channels that need a secret."""
_COLUMNS: Final = "id, target, channel, description, rules, concurrency, created, disabled, failing_since"


class Endpoints:
    """Kept in the outbox's file. Every change is one transaction. Raises `UnknownEndpoint`, `OutboxError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, wanted: NewEndpoint, now_ns: int) -> tuple[Endpoint, Secret]:
        """The new endpoint, and its secret, which is told this once."""
        endpoint = Endpoint(
            id=f"ep_{secrets.token_hex(8)}",
            created=now_ns,
            disabled="",
            failing_since=None,
            **msgspec.structs.asdict(wanted),
        )
        secret = new_secret() if wanted.channel in SIGNED else ""
        self._database.changed(
            f"INSERT INTO endpoints ({_COLUMNS}, secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                endpoint.id, endpoint.target, endpoint.channel, endpoint.description,
                msgspec.json.encode(endpoint.rules).decode(), endpoint.concurrency, now_ns, "", None, secret,
            ),
        )  # fmt: skip
        return endpoint, Secret(endpoint=endpoint.id, secret=secret)

    def all(self) -> Sequence[Endpoint]:
        """Every endpoint, the oldest first."""
        return [_endpoint(row) for row in self._database.rows(f"SELECT {_COLUMNS} FROM endpoints ORDER BY created, id")]  # noqa: S608

    def get(self, endpoint: str) -> Endpoint:
        """The endpoint of this id."""
        found = self._database.rows(f"SELECT {_COLUMNS} FROM endpoints WHERE id = ?", (endpoint,))  # noqa: S608
        if not found:
            raise UnknownEndpoint(f"no endpoint has the id {endpoint!r}; `tickwire hooks list` shows them")
        return _endpoint(found[0])

    def must_be_enabled(self, endpoint: str) -> None:
        """`TargetRefused` where nothing is sent there any more."""
        if why := self.get(endpoint).disabled:
            raise TargetRefused(
                f"{endpoint}: the endpoint was disabled ({why}); `tickwire hooks enable {endpoint}` first"
            )

    def remove(self, endpoint: str) -> None:
        """Forget it with all its deliveries."""
        self.get(endpoint)
        self._database.changed("DELETE FROM endpoints WHERE id = ?", (endpoint,))

    def rotate(self, endpoint: str, overlap: timedelta, now_ns: int) -> Secret:
        """A new secret; the one before signs beside it until the overlap is over. An older one ends now."""
        until = now_ns + round(overlap.total_seconds() * 1e9)
        secret = new_secret() if self.get(endpoint).channel in SIGNED else ""
        self._database.changed(
            "UPDATE endpoints SET old_secret = secret, old_until = ?, secret = ? WHERE id = ?",
            (until, secret, endpoint),
        )
        return Secret(endpoint=endpoint, secret=secret, old_valid_until=until)

    def keys(self, endpoint: str, now_ns: int) -> tuple[str, ...]:
        """The secrets that sign now, the newest first."""
        found = self._database.rows("SELECT secret, old_secret, old_until FROM endpoints WHERE id = ?", (endpoint,))
        if not found:
            return ()
        new, old, until = found[0]
        return (new, old) if old and now_ns < until else (new,)

    def enable(self, endpoint: str) -> None:
        """Send there again."""
        self.get(endpoint)
        self._database.changed("UPDATE endpoints SET disabled = '', failing_since = NULL WHERE id = ?", (endpoint,))


def _endpoint(row: tuple[Any, ...]) -> Endpoint:
    fields = dict(zip(Endpoint.__struct_fields__, row, strict=True))
    return Endpoint(**fields | {"rules": tuple(msgspec.json.decode(fields["rules"]))})
