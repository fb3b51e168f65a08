"""The deliveries as people look at them: lists, bodies, answers, and doing one again."""

from collections.abc import Sequence
from typing import Any, Final

from infra.hooks.database import Database
from infra.hooks.endpoints import Endpoints
from schemas.errors import UnknownEndpoint
from schemas.hooks import Attempt, Delivery, DeliveryDetails

_COLUMNS: Final = "id, endpoint, message, state, tries, due, made, done"


class DeliveryLog:
    """Reads and replays deliveries. Raises `UnknownEndpoint`, `OutboxError`."""

    def __init__(self, database: Database) -> None:
        self._database, self._endpoints = database, Endpoints(database)

    def page(
        self, endpoint: str = "", state: str = "", *, before: int | None = None, limit: int = 100
    ) -> Sequence[Delivery]:
        """The newest deliveries first: of one endpoint, in one state, made before the delivery `before`, where given."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM deliveries WHERE (?1 = '' OR endpoint = ?1) AND (?2 = '' OR state = ?2) "  # noqa: S608
            "AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4",
            (endpoint, state, before, limit),
        )
        return [_delivery(row) for row in rows]

    def details(self, delivery: int) -> DeliveryDetails:
        """One delivery with its body and every attempt."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM deliveries WHERE id = ?", (delivery,))  # noqa: S608
        if not rows:
            raise UnknownEndpoint(f"no delivery has the id {delivery}; `tickwire hooks deliveries` shows them")
        found = _delivery(rows[0])
        ((body,),) = self._database.rows("SELECT body FROM messages WHERE id = ?", (found.message,))
        attempts = self._database.rows(
            "SELECT number, at, took_s, outcome, status, detail FROM attempts WHERE delivery = ? ORDER BY number",
            (delivery,),
        )
        names = Attempt.__struct_fields__
        return DeliveryDetails(
            delivery=found, body=body.decode(),
            attempts=tuple(Attempt(**dict(zip(names, attempt, strict=True))) for attempt in attempts),
        )  # fmt: skip

    def replay(self, delivery: int, now_ns: int) -> None:
        """Deliver once more under the same id, at once and from the schedule's beginning."""
        self._endpoints.must_be_enabled(self.details(delivery).delivery.endpoint)
        self._database.changed(
            "UPDATE deliveries SET state = 'pending', tries = 0, due = ?, done = NULL WHERE id = ?", (now_ns, delivery)
        )

    def replay_all(self, endpoint: str, now_ns: int, *, since: int = 0, every: bool = False) -> int:
        """The same for all dead letters of an endpoint made since then, ns; for those that arrived, too, where `every`."""
        self._endpoints.must_be_enabled(endpoint)
        return self._database.changed(
            "UPDATE deliveries SET state = 'pending', tries = 0, due = ?, done = NULL "
            "WHERE endpoint = ? AND made >= ? AND (state = 'dead' OR (? AND state = 'sent'))",
            (now_ns, endpoint, since, every),
        )


def _delivery(row: tuple[Any, ...]) -> Delivery:
    return Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True)))
