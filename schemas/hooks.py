"""Where alerts are delivered to, and what became of each delivery: what the outbox keeps and the API answers with."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from schemas.events import Ns

Channel = Literal["webhook", "slack", "mail", "ses", "sns"]
State = Literal["pending", "sent", "dead"]
Outcome = Literal["sent", "failed", "refused", "gone"]
"""Of one attempt: `refused` by our own guard, `gone` where the receiver wants nothing any more (410)."""

MAX_TARGET: Final = 2_000
MAX_CONCURRENCY: Final = 16


class NewEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for when an endpoint is added."""

    target: Annotated[str, Meta(min_length=1, max_length=MAX_TARGET)]
    """URL of a webhook or of a Slack-compatible receiver, address for mail and SES, ARN of an SNS topic."""
    channel: Channel = "webhook"
    description: Annotated[str, Meta(max_length=200)] = ""
    rules: Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=100)] = ()
    """Alerts of these rules alone; of every rule where empty."""
    concurrency: Annotated[int, Meta(ge=1, le=MAX_CONCURRENCY)] = 1
    """Attempts at once. With 1, first attempts are made in the order of the alerts."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """One receiver; its secret is told when it is made, and never again."""

    id: str
    target: str
    channel: Channel
    description: str
    rules: tuple[str, ...]
    concurrency: int
    created: Ns
    disabled: str
    """Why nothing is sent there; empty while it is in use."""
    failing_since: Ns | None
    """First failure after the last success."""


class Secret(Struct, frozen=True, kw_only=True):
    """A new secret, shown this once."""

    endpoint: str
    secret: str
    """`whsec_` and base64, as Standard Webhooks has it; empty for a channel that signs nothing."""
    old_valid_until: Ns | None = None
    """Until then the secret before signs, too."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One try to deliver."""

    number: int
    at: Ns
    took_s: float
    outcome: Outcome
    status: int
    """Of HTTP, or of SMTP; 0 where there was no answer."""
    detail: str
    """What went wrong, or the first 4 KiB of the answer."""


class Delivery(Struct, frozen=True, kw_only=True):
    """One message for one endpoint."""

    id: int
    endpoint: str
    message: str
    """The header `webhook-id`: the same at every attempt."""
    state: State
    tries: int
    """Attempts that count against the schedule; a replay begins anew."""
    due: Ns
    """When the next attempt is made, if it is pending."""
    made: Ns
    done: Ns | None


class DeliveryDetails(Struct, frozen=True, kw_only=True):
    """A delivery with its body and its attempts."""

    delivery: Delivery
    body: str
    attempts: tuple[Attempt, ...]
