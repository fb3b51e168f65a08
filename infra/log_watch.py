"""While we read a log: is it still the one it was? A topic may be deleted and made again under a running reader."""

import threading
from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka.admin import AdminClient

from infra.kafka import client_config, topic_id
from infra.log_identity import LogIdentity, current_log
from infra.settings import Kafka
from schemas.errors import BackendError, LogError

EVERY_S: Final = 2.0


class LogWatch:
    """Asks the broker every two seconds, on a thread of its own; calls `stop` once the log is another one, and says why."""

    def __init__(self, kafka: Kafka, identity: LogIdentity, stop: Callable[[], None]) -> None:
        self._kafka, self._identity, self._stop = kafka, identity, stop
        self._admin = AdminClient(client_config(kafka))
        self._over = threading.Event()
        self._found: LogError | None = None
        self._thread = threading.Thread(target=self._watch, name="log-watch", daemon=True)

    def __enter__(self) -> "LogWatch":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        if kind is not None and issubclass(kind, SystemExit):  # what was under way was told to end: by us?
            self.complain()

    def complain(self) -> None:
        """`LogError` where the log was found to be another one."""
        if self._found is not None:
            raise self._found

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                self.look()
            except LogError as error:
                structlog.get_logger().error("reading ends", reason=str(error))
                self._found = error
                self._stop()
                return
            except BackendError as error:
                structlog.get_logger().warning("the log could not be looked at", reason=str(error))

    def look(self) -> None:
        """`LogError` where the log is not the one that we read."""
        now = self._now()
        if now != self._identity.log_id:
            raise LogError(
                f"topic {self._identity.topic} was made anew while it was read: expected log {self._identity.log_id}, found "
                f"{now}; start again to hear what to do"
            )

    def _now(self) -> str:
        if self._kafka.log_file is None and not self._kafka.log_id:
            return topic_id(self._kafka, self._identity.topic, self._admin)
        return current_log(self._kafka).log_id
