"""Finding the services that `tickwire up` runs on a directory, so that other commands can talk to them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from infra.embedded.instance import read_run_state
from infra.settings import Settings
from schemas.errors import SettingsError

NICE: Final[Mapping[str, int]] = {"api": -10, "watch-drift": 10}
"""By program, where many want a core: somebody waits for what the API says, nobody for the drift watch and its training."""
EMBEDDED_RETENTION: Final = timedelta(hours=2)


def running(settings: Settings) -> Mapping[str, str] | None:
    """Addresses of the instance that runs on this directory; None where none does."""
    state = read_run_state(settings.data.resolve())
    return state.addresses if state is not None and "api_port" in state.addresses else None


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


def at(settings: Settings, addresses: Mapping[str, str]) -> Settings:
    """The settings with these addresses where they name none."""
    kafka: dict[str, Any] = {}
    if not settings.kafka.bootstrap:
        kafka = {"bootstrap": addresses["kafka"]}
        if log_file := addresses["log_file"]:  # there is none where `up` itself was given a broker
            kafka |= {"log_file": log_file, "retention": settings.kafka.retention or EMBEDDED_RETENTION}
    given: dict[str, dict[str, Any]] = {"kafka": kafka, "clickhouse": {}, "redis": {}, "api": {}, "sql": {}}
    if not settings.clickhouse.url.get_secret_value():
        given["clickhouse"]["url"] = addresses["clickhouse_url"]
        if not settings.sql.url.get_secret_value():  # the embedded engine has one user, its grants and its sandbox
            given["sql"]["url"] = addresses["clickhouse_url"]
    if not settings.redis.url.get_secret_value():
        given["redis"]["url"] = addresses["redis_url"]
    if "api_port" in addresses and not settings.api.namespace:  # a replay is served beside it
        given["api"]["port"] = int(addresses["api_port"])
    tree = settings.model_dump()
    for section, values in given.items():
        tree[section] |= values
    return Settings.model_validate(tree)


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process the same services."""
    return {
        "TICKWIRE_DATA": str(settings.data.resolve()),
        "TICKWIRE_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        **({"TICKWIRE_KAFKA__LOG_ID": settings.kafka.log_id} if settings.kafka.log_id else {}),
        **({"TICKWIRE_KAFKA__LOG_FILE": str(file)} if (file := settings.kafka.log_file) else {}),
        **(
            {"TICKWIRE_KAFKA__RETENTION": f"{retention.total_seconds():g}"}
            if (retention := settings.kafka.retention)
            else {}
        ),
        "TICKWIRE_CLICKHOUSE__URL": settings.clickhouse.url.get_secret_value(),
        "TICKWIRE_REDIS__URL": settings.redis.url.get_secret_value(),
        "TICKWIRE_SQL__URL": settings.sql.url.get_secret_value(),
        "TICKWIRE_API__PORT": str(settings.api.port),
    }
