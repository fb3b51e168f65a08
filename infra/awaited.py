"""The services that a process cannot begin without: waited for, but not for ever."""

import time
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.clickhouse import connect
from infra.kafka import client_config
from infra.settings import Settings
from schemas.errors import BackendError, DatabaseUnavailable

ASK_EVERY_S: Final = 0.2


def await_kafka(settings: Settings) -> None:
    """Return once the broker answers; BackendError where it does not within `start_within`."""
    within_s = settings.start_within.total_seconds()
    try:
        AdminClient(client_config(settings.kafka)).list_topics(timeout=within_s)
    except KafkaException as error:
        raise BackendError(
            f"Kafka at {settings.kafka.bootstrap} did not answer within {within_s:g} s ({error.args[0].str()}); is it running "
            "there, and does TICKWIRE_KAFKA__BOOTSTRAP name it?"
        ) from error


def await_clickhouse(settings: Settings) -> None:
    """Return once ClickHouse answers; DatabaseUnavailable where it does not within `start_within`."""
    within_s = settings.start_within.total_seconds()
    deadline = time.monotonic() + within_s
    while True:
        left_s = max(1.0, deadline - time.monotonic())
        database = connect(
            settings.clickhouse.url.get_secret_value(), timeout_s=left_s, connect_timeout_s=min(5, left_s)
        )
        try:
            database.rows("SELECT 1")
            return
        except DatabaseUnavailable as error:
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"gave up after {within_s:g} s: {error}") from error
        finally:
            database.close()
        time.sleep(ASK_EVERY_S)
