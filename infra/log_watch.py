"""While we read a log: is it still the one it was? A topic may be deleted and made again under a running reader."""

from collections.abc import Callable
from typing import Final

from confluent_kafka.admin import AdminClient

from infra.kafka import client_config, topic_id
from infra.log_identity import LogIdentity, current_log
from infra.settings import Kafka
from infra.watch import Watch
from schemas.errors import LogError

EVERY_S: Final = 2.0


class LogWatch(Watch):
    """Asks the broker every two seconds; ends what is under way once the log is another one, and says why."""

    def __init__(self, kafka: Kafka, identity: LogIdentity, stop: Callable[[], None]) -> None:
        super().__init__("log-watch", EVERY_S, stop)
        self._kafka, self._identity = kafka, identity
        self._admin = AdminClient(client_config(kafka))

    def reason_to_end(self) -> LogError | None:
        """Compare with the log that we read."""
        try:
            now = self._now()
        except LogError as error:
            return error
        if now == self._identity.log_id:
            return None
        return LogError(
            f"topic {self._identity.topic} was made anew while it was read: expected log {self._identity.log_id}, found "
            f"{now}; start again to hear what to do"
        )

    def _now(self) -> str:
        if self._kafka.log_file is None and not self._kafka.log_id:
            return topic_id(self._kafka, self._identity.topic, self._admin)
        return current_log(self._kafka).log_id
