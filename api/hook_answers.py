"""What the API answers about the delivery of alerts: the rows of the outbox, with times that people and browsers read."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from api.times import to_rfc3339
from schemas.hooks import Attempt, Channel, Delivery, DeliveryDetails, Endpoint, NewEndpoint, Outcome, Secret, State

A = TypeVar("A", bound=Struct)
Time = Annotated[str, Meta(description="RFC 3339, UTC, nine digits")]


class AlertEndpoint(Struct, frozen=True, kw_only=True):
    """One receiver."""

    id: str
    target: str
    channel: Channel
    description: str
    rules: Annotated[tuple[str, ...], Meta(description="Alerts of these rules alone; of every rule where empty")]
    concurrency: int
    created: Time
    disabled: Annotated[str, Meta(description="Why nothing is sent there; empty while it is in use")]
    failing_since: Time | None


class AlertEndpoints(Struct, frozen=True, kw_only=True):
    """All of them, the oldest first."""

    data: Sequence[AlertEndpoint]


class EndpointSecret(Struct, frozen=True, kw_only=True):
    """A new secret, told this once."""

    endpoint: str
    secret: Annotated[str, Meta(description="`whsec_…` of Standard Webhooks; empty for a channel that signs nothing")]
    old_valid_until: Annotated[Time | None, Meta(description="Until then the secret before signs, too")]


class AddedEndpoint(Struct, frozen=True, kw_only=True):
    """The endpoint, and its secret."""

    endpoint: AlertEndpoint
    secret: str


class AlertDelivery(Struct, frozen=True, kw_only=True):
    """One message for one endpoint."""

    id: int
    endpoint: str
    message: Annotated[str, Meta(description="The header `webhook-id`, the same at every attempt")]
    state: State
    tries: int
    due: Time
    made: Time
    done: Time | None


class AlertDeliveries(Struct, frozen=True, kw_only=True):
    """A page, the newest first; `next_cursor` is null on the last page."""

    data: Sequence[AlertDelivery]
    next_cursor: str | None


class AlertAttempt(Struct, frozen=True, kw_only=True):
    """One try to deliver."""

    number: int
    at: Time
    took_s: float
    outcome: Outcome
    status: int
    detail: Annotated[str, Meta(description="What went wrong, or the first 4 KiB of the answer")]


class AlertDeliveryDetails(Struct, frozen=True, kw_only=True):
    """A delivery with the body that is sent and every attempt."""

    delivery: AlertDelivery
    body: str
    attempts: Sequence[AlertAttempt]


class Queued(Struct, frozen=True, kw_only=True):
    """What the delivery process will do next."""

    deliveries: int
    delivery: Annotated[int | None, Meta(description="Its id, where it is one")]


ALL: Final[tuple[type[Struct], ...]] = (
    AlertEndpoints, AddedEndpoint, EndpointSecret, AlertDeliveries, AlertDeliveryDetails, Queued, NewEndpoint,
)  # fmt: skip
_TIMES: Final = frozenset({"created", "failing_since", "old_valid_until", "due", "made", "done", "at"})


def readable(answer: type[A], row: Endpoint | Secret | Delivery | Attempt) -> A:
    """The row as this answer, its times as text."""
    values: dict[str, Any] = msgspec.structs.asdict(row)
    for name in _TIMES & values.keys():
        values[name] = None if values[name] is None else to_rfc3339(values[name])
    return answer(**values)


def readable_details(details: DeliveryDetails) -> AlertDeliveryDetails:
    """A delivery with everything."""
    return AlertDeliveryDetails(
        delivery=readable(AlertDelivery, details.delivery), body=details.body,
        attempts=[readable(AlertAttempt, attempt) for attempt in details.attempts],
    )  # fmt: skip
