"""What is to be delivered, and what became of it: written before the alert counts as read, kept through every crash."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from infra.hooks.channel import Answer, Message
from infra.hooks.database import Database
from infra.hooks.endpoints import Endpoints
from schemas.hooks import Endpoint

KEPT: Final = timedelta(days=30)
"""A delivery that is over; longer than alerts stay on their topic, so that one that is read again is known."""
SKEW_NS: Final = 60_000_000_000
"""Between the clock of an alert and ours."""


@dataclass(frozen=True, slots=True)
class Put:
    """One message, and who gets it. `said`: when the alert was said, ns."""

    message: Message
    rule: str
    said: int


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery to try now."""

    id: int
    tries: int
    message: Message
    said: int
    replayed: bool


class Outbox:
    """Deliveries on a database. Several processes may write; one delivers. Raises `OutboxError`."""

    def __init__(self, database: Database) -> None:
        self._database, self._endpoints = database, Endpoints(database)

    def put(self, puts: Sequence[Put], now_ns: int) -> int:
        """Deliveries of these messages to every endpoint that wants them; how many are new. Those known stay as they are.

        An endpoint gets what was said since it was added. For one that is disabled they are dead letters from the start.
        Call it inside a transaction.
        """
        endpoints = self._endpoints.all()
        return sum(self._put(put, endpoint, now_ns) for put in puts for endpoint in endpoints if _wants(endpoint, put))

    def _put(self, put: Put, endpoint: Endpoint, now_ns: int) -> int:
        message = put.message
        self._database.changed(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (message.id, message.kind, message.body, put.said, now_ns),
        )
        state, done = ("dead", now_ns) if endpoint.disabled else ("pending", None)
        return self._database.changed(
            "INSERT INTO deliveries (endpoint, message, state, due, made, done) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (endpoint, message) DO NOTHING",
            (endpoint.id, message.id, state, now_ns, now_ns, done),
        )

    def put_for(self, endpoint: str, message: Message, now_ns: int) -> int:
        """One message for one endpoint, whatever it wants; the delivery's id. `TargetRefused` where it is disabled."""
        with self._database.transaction():
            self._endpoints.must_be_enabled(endpoint)
            self._database.changed(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?)", (message.id, message.kind, message.body, now_ns, now_ns)
            )
            self._database.changed(
                "INSERT INTO deliveries (endpoint, message, state, due, made) VALUES (?, ?, 'pending', ?, ?)",
                (endpoint, message.id, now_ns, now_ns),
            )
            ((delivery,),) = self._database.rows("SELECT last_insert_rowid()")
        return int(delivery)

    def due(self, endpoint: str, now_ns: int, most: int, busy: Sequence[int]) -> list[Due]:
        """Deliveries to try now, the oldest first, without those under way."""
        rows = self._database.rows(
            "SELECT d.id, d.tries, m.id, m.kind, m.body, m.said, EXISTS (SELECT 1 FROM attempts a WHERE a.delivery = d.id) "
            "FROM deliveries d JOIN messages m ON m.id = d.message "
            "WHERE d.endpoint = ? AND d.state = 'pending' AND d.due <= ? ORDER BY d.due, d.id LIMIT ?",
            (endpoint, now_ns, most + len(busy)),
        )
        found = [
            Due(id_, tries, Message(message, kind, body), said, replayed=bool(tried) and tries == 0)
            for id_, tries, message, kind, body, said, tried in rows
            if id_ not in busy
        ]
        return found[:most]

    def record(self, delivery: Due, answer: Answer, at: int, took_s: float, again: int | None) -> str:
        """An attempt is over; `again`: when the next one is due, ns, if there is one. The delivery's state from now on.

        Call it inside a transaction.
        """
        over = again is None or self._disabled(delivery.id)
        state = "sent" if answer.outcome == "sent" else "dead" if over else "pending"
        done = None if state == "pending" else at + round(took_s * 1e9)
        known = self._database.changed(
            "UPDATE deliveries SET state = ?, tries = ?, due = coalesce(?, due), done = ? WHERE id = ?",
            (state, delivery.tries + 1, again, done, delivery.id),
        )
        if not known:
            return "removed"
        self._database.changed(
            "INSERT INTO attempts SELECT ?, coalesce(max(number), 0) + 1, ?, ?, ?, ?, ? FROM attempts WHERE delivery = ?",
            (delivery.id, at, took_s, answer.outcome, answer.status, answer.detail, delivery.id),
        )
        return state

    def _disabled(self, delivery: int) -> bool:
        sql = "SELECT e.disabled FROM deliveries d JOIN endpoints e ON e.id = d.endpoint WHERE d.id = ?"
        return any(why for (why,) in self._database.rows(sql, (delivery,)))

    def saw(self, endpoint: str, at: int, *, success: bool) -> None:
        """Note since when an endpoint fails. Call it inside a transaction."""
        if success:
            self._database.changed(
                "UPDATE endpoints SET failing_since = NULL WHERE id = ? AND failing_since IS NOT NULL", (endpoint,)
            )
        else:
            self._database.changed(
                "UPDATE endpoints SET failing_since = ? WHERE id = ? AND failing_since IS NULL", (at, endpoint)
            )

    def disable(self, endpoint: str, why: str, now_ns: int) -> None:
        """Send nothing there any more; what waits for it becomes dead letters. Call it inside a transaction."""
        self._database.changed("UPDATE endpoints SET disabled = ? WHERE id = ?", (why, endpoint))
        self._database.changed(
            "UPDATE deliveries SET state = 'dead', done = ? WHERE endpoint = ? AND state = 'pending'",
            (now_ns, endpoint),
        )

    def prune(self, now_ns: int, kept: timedelta = KEPT) -> int:
        """Forget what has been over for so long; how many deliveries that were. Call it inside a transaction."""
        before = now_ns - round(kept.total_seconds() * 1e9)
        gone = self._database.changed("DELETE FROM deliveries WHERE state <> 'pending' AND done < ?", (before,))
        self._database.changed(
            "DELETE FROM messages WHERE put < ? AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = messages.id)",
            (before,),
        )
        return gone

    def waiting(self) -> tuple[int, int | None]:
        """How many deliveries wait, and when the oldest of them was made, ns."""
        count, made = self._database.rows("SELECT count(*), min(made) FROM deliveries WHERE state = 'pending'")[0]
        return count, made


def _wants(endpoint: Endpoint, put: Put) -> bool:
    return put.said >= endpoint.created - SKEW_NS and (not endpoint.rules or put.rule in endpoint.rules)
