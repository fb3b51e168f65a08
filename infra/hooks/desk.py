"""What the command line and the API do with endpoints and deliveries."""

import re
import secrets
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from infra.hooks.messages import ping
from infra.hooks.opened import HookStore, allowed, open_store
from infra.hooks.targets import parse
from infra.settings import Hooks
from schemas.errors import TargetRefused
from schemas.hooks import Delivery, DeliveryDetails, Endpoint, NewEndpoint, Secret
from streams.ports import Clock

_MAIL: Final = re.compile(r"[\w.!#$%&'*+/=^`{|}~-]+@[\w-]+(\.[\w-]+)+", re.ASCII)
"""Without what a header of a mail reads in another way: quotes, brackets, groups, encoded words."""


class Desk:
    """`api.ports.AlertHooks`. What it does not deliver itself, the delivery process finds in the outbox."""

    def __init__(self, data: Path, hooks: Hooks, clock: Clock) -> None:
        self._data, self._hooks, self._clock = data, hooks, clock

    @cached_property
    def _store(self) -> HookStore:
        return open_store(self._data)

    def endpoints(self) -> Sequence[Endpoint]:
        return [shown(endpoint) for endpoint in self._store.endpoints.all()]

    def add(self, wanted: NewEndpoint) -> tuple[Endpoint, Secret]:
        check_target(wanted, self._hooks)
        endpoint, secret = self._store.endpoints.add(wanted, self._clock.now_ns())
        return shown(endpoint), secret

    def remove(self, endpoint: str) -> None:
        self._store.endpoints.remove(endpoint)

    def rotate(self, endpoint: str, overlap: timedelta) -> Secret:
        return self._store.endpoints.rotate(endpoint, overlap, self._clock.now_ns())

    def enable(self, endpoint: str) -> None:
        self._store.endpoints.enable(endpoint)

    def keys(self, endpoint: str) -> Sequence[str]:
        """The secrets that sign now; for a receiver on this machine."""
        self._store.endpoints.get(endpoint)
        return self._store.endpoints.keys(endpoint, self._clock.now_ns())

    def ping(self, endpoint: str) -> int:
        now = self._clock.now_ns()
        return self._store.outbox.put_for(endpoint, ping(endpoint, secrets.token_hex(12), now), now)

    def deliveries(self, endpoint: str, state: str, before: int | None, limit: int) -> Sequence[Delivery]:
        return self._store.log.page(endpoint, state, before=before, limit=limit)

    def delivery(self, delivery: int) -> DeliveryDetails:
        return self._store.log.details(delivery)

    def replay(self, delivery: int) -> None:
        self._store.log.replay(delivery, self._clock.now_ns())

    def replay_all(self, endpoint: str, since: int, *, every: bool) -> int:
        return self._store.log.replay_all(endpoint, self._clock.now_ns(), since=since, every=every)


def shown(endpoint: Endpoint) -> Endpoint:
    """The endpoint as it may be looked at: what a URL keeps secret is left out (a Slack URL's path, any query)."""
    if endpoint.channel not in ("webhook", "slack"):
        return endpoint
    parts = urlsplit(endpoint.target)
    path = f"/…{parts.path[-4:]}" if endpoint.channel == "slack" else parts.path
    return replace(endpoint, target=f"{parts.scheme}://{parts.netloc}{path}{'?…' if parts.query else ''}")


def check_target(wanted: NewEndpoint, hooks: Hooks) -> None:
    """`TargetRefused` where the channel cannot send there, by the form of the target and what is set up."""
    if wanted.channel in ("webhook", "slack"):
        parse(wanted.target, allowed(hooks))
    elif wanted.channel == "mail":
        _needs(bool(hooks.smtp_url.get_secret_value()), "TICKWIRE_HOOKS__SMTP_URL")
        _address(wanted.target, hooks)
    else:
        _needs(bool(hooks.aws_region), "TICKWIRE_HOOKS__AWS_REGION")
        if wanted.channel == "ses":
            _address(wanted.target, hooks)
        elif not wanted.target.startswith("arn:"):
            raise TargetRefused(f"expected the ARN of an SNS topic, found {wanted.target[:100]!r}")


def _needs(given: bool, variable: str) -> None:
    if not given:
        raise TargetRefused(f"this channel is off; {variable} sets it up")


def _address(text: str, hooks: Hooks) -> None:
    _needs(bool(hooks.mail_from), "TICKWIRE_HOOKS__MAIL_FROM")
    if not _MAIL.fullmatch(text):
        raise TargetRefused(f"expected one mail address such as desk@example.com, found {text[:100]!r}")
