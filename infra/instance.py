"""Finding the services that `tickwire up` runs in a directory, so that other commands can talk to them."""

import json
import os
from pathlib import Path
from typing import Any, Final

from infra.settings import Settings
from schemas.errors import SettingsError

FILE: Final = "instance.json"


def publish(settings: Settings, addresses: dict[str, Any]) -> None:
    """Leave the addresses for other commands."""
    path = settings.data / FILE
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps({"pid": os.getpid(), **addresses}, indent=1))
    scratch.rename(path)


def withdraw(settings: Settings) -> None:
    """They are no longer true."""
    (settings.data / FILE).unlink(missing_ok=True)


def running(settings: Settings) -> dict[str, Any] | None:
    """Addresses of the instance that runs on this directory; None where none does."""
    path: Path = settings.data / FILE
    if not path.exists():
        return None
    addresses: dict[str, Any] = json.loads(path.read_text())
    try:
        os.kill(int(addresses["pid"]), 0)
    except ProcessLookupError:
        return None
    return addresses


def attached(settings: Settings) -> Settings:
    """The settings with the addresses of the running instance, where they do not name services themselves."""
    clickhouse, redis = settings.clickhouse.url.get_secret_value(), settings.redis.url.get_secret_value()
    if settings.kafka.bootstrap and clickhouse and redis:
        return settings
    found = running(settings)
    if found is None:
        raise SettingsError(
            f"nothing runs on {settings.data.resolve()}: start `tickwire up` there, or name the services: "
            "TICKWIRE_KAFKA__BOOTSTRAP, TICKWIRE_CLICKHOUSE__URL, TICKWIRE_REDIS__URL"
        )
    return at(settings, found)


def at(settings: Settings, addresses: dict[str, Any]) -> Settings:
    """The settings with these addresses where they name none."""
    kafka: dict[str, Any] = {}
    if not settings.kafka.bootstrap:
        kafka = {"bootstrap": addresses["kafka"], "log_id": addresses["log_id"]}
    given: dict[str, dict[str, Any]] = {"kafka": kafka, "clickhouse": {}, "redis": {}, "api": {}}
    if not settings.clickhouse.url.get_secret_value():
        given["clickhouse"]["url"] = addresses["clickhouse"]
    if not settings.redis.url.get_secret_value():
        given["redis"]["url"] = addresses["redis"]
    if addresses.get("api_port"):
        given["api"]["port"] = addresses["api_port"]
    tree = settings.model_dump()
    for section, values in given.items():
        tree[section] |= values
    return Settings.model_validate(tree)


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process the same services."""
    return {
        "TICKWIRE_DATA": str(settings.data.resolve()),
        "TICKWIRE_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "TICKWIRE_KAFKA__LOG_ID": settings.kafka.log_id,
        "TICKWIRE_CLICKHOUSE__URL": settings.clickhouse.url.get_secret_value(),
        "TICKWIRE_REDIS__URL": settings.redis.url.get_secret_value(),
        "TICKWIRE_API__PORT": str(settings.api.port),
    }
