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
    found: dict[str, Channel] = {"webhook": WebhookChannel(poster), "slack": SlackChannel(poster)}
    return found


def _trusted(hooks: Hooks) -> ssl.SSLContext:
    if not hooks.ca_file:
        return httpcore2.default_ssl_context()
    try:
        return ssl.create_default_context(cafile=hooks.ca_file)
    except OSError as error:
        raise SettingsError(f"TICKWIRE_HOOKS__CA_FILE: {hooks.ca_file} holds no certificates ({error})") from error
