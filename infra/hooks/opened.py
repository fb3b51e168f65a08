"""The outbox of an installation, and the channels that its settings set up."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpcore2

from infra.hooks.channel import Channel
from infra.hooks.database import Database
from infra.hooks.endpoints import Endpoints
from infra.hooks.log import DeliveryLog
from infra.hooks.outbox import Outbox
from infra.hooks.post import Poster
from infra.hooks.targets import Allowed, SystemResolver
from infra.hooks.webhook import SlackChannel, WebhookChannel
from infra.settings import Hooks
from schemas.errors import SettingsError

FILE: Final = "outbox.sqlite3"


@dataclass(frozen=True)
class HookStore:
    """One connection, and what is read and written through it."""

    database: Database
    endpoints: Endpoints
    outbox: Outbox
    log: DeliveryLog


def directory(data: Path) -> Path:
    """Where an installation keeps its outbox; for its owner alone."""
    return data / "hooks"


def open_store(data: Path) -> HookStore:
    """The outbox of this data directory, made where there is none. `OutboxError`."""
    database = Database(directory(data) / FILE)
    return HookStore(database, Endpoints(database), Outbox(database), DeliveryLog(database))


def allowed(hooks: Hooks) -> Allowed:
    """What the settings allow."""
    return Allowed(frozenset(hooks.ports), hooks.http, hooks.loopback)


def channels(hooks: Hooks) -> Mapping[str, Channel]:
    """By name, those that are set up; the ones over HTTP always are."""
    poster = Poster(allowed(hooks), SystemResolver(), _trusted(hooks), total_s=hooks.timeout.total_seconds())
    return {"webhook": WebhookChannel(poster), "slack": SlackChannel(poster), **_mail(hooks), **_amazon(hooks)}


def _mail(hooks: Hooks) -> Mapping[str, Channel]:
    url = hooks.smtp_url.get_secret_value()
    if not (url and hooks.mail_from):
        return {}
    try:
        from infra.hooks.mail import MailChannel, MailServer  # noqa: PLC0415
    except ImportError as error:
        raise _extra("TICKWIRE_HOOKS__SMTP_URL", "mail") from error
    return {"mail": MailChannel(MailServer.of(url), hooks.mail_from, _trusted(hooks), hooks.timeout.total_seconds())}


def _amazon(hooks: Hooks) -> Mapping[str, Channel]:
    if not hooks.aws_region:
        return {}
    try:
        from infra.hooks.aws import Amazon, SesChannel, SnsChannel  # noqa: PLC0415
    except ImportError as error:
        raise _extra("TICKWIRE_HOOKS__AWS_REGION", "aws") from error
    amazon = Amazon(hooks.aws_region, hooks.aws_endpoint)
    return {"sns": SnsChannel(amazon), **({"ses": SesChannel(amazon, hooks.mail_from)} if hooks.mail_from else {})}


def _extra(variable: str, name: str) -> SettingsError:
    return SettingsError(f"{variable} is set, but what it needs is not installed: pip install 'tickwire[{name}]'")


def _trusted(hooks: Hooks) -> ssl.SSLContext:
    if not hooks.ca_file:
        return httpcore2.default_ssl_context()
    try:
        return ssl.create_default_context(cafile=hooks.ca_file)
    except OSError as error:
        raise SettingsError(f"TICKWIRE_HOOKS__CA_FILE: {hooks.ca_file} holds no certificates ({error})") from error
