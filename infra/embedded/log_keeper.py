"""Keeps the identity of the embedded broker's log: what a crash took from it is found before any client is let in.

The broker loses the end of its log when it is killed and gives the offsets out again (ADR 9). So after every end
that was not our own clean stop its log is closed at the end that is found, and a new one begins there under a new id; unless
it is proven that nothing was lost: every record that went through the relay was acknowledged, and is there.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.embedded.acknowledged import Acknowledged
from infra.embedded.ports import HOST
from infra.kafka import ANSWER_S, client_config
from infra.kafka_log import READER
from infra.log_identity import FILE, LogIdentity, read_logs, write_logs
from infra.private import private_folder
from infra.settings import Kafka
from schemas.errors import BackendError
from schemas.topics import EVENTS

OLD_FILE: Final = "log_id"
CLEAN: Final = "stopped"
"""Is there from a clean stop to the next start."""

log = logging.getLogger("tickwire.log")


class LogKeeper:
    """The logs of one embedded broker; `inner` is the port at which only we reach it.

    `prepare` makes topics that are missing: the broker would make them itself, with one partition.
    """

    def __init__(self, data: Path, inner: int, prepare: Callable[[Kafka], None], tell: Callable[[str], None]) -> None:
        self.path, self._data, self._prepare, self._tell = data / FILE, data, prepare, tell
        self._kafka = Kafka(bootstrap=f"{HOST}:{inner}")
        private_folder(data)
        logs = read_logs(self.path)
        self.fresh = not logs and not (data / OLD_FILE).exists()
        self.clean = (data / CLEAN).exists()
        self._judged = self.fresh or self.clean
        (data / CLEAN).unlink(missing_ok=True)
        if not logs:
            self._write([LogIdentity(log_id=self._older() or uuid4().hex, opened_ns=time.time_ns(), why="first start")])
            Acknowledged(data).close()

    def current(self) -> LogIdentity:
        """The log that grows."""
        return read_logs(self.path)[-1]

    def mended(self) -> bool:
        """After the broker has come back, before clients are let in: whether a new log has begun."""
        clean, self.clean = self.clean, False
        found = self._ends()
        known = Acknowledged(self._data)
        ends, complete = known.ends(), known.complete
        lost = {p: end - found.get(p, 0) for p, end in ends.items() if end > found.get(p, 0)}
        kept = not lost if clean else (complete and {p: end for p, end in found.items() if end} == ends)
        if not kept:
            self._open(found, lost, clean)
        known.reset(found)
        known.close()
        self._judged = True
        self._prepare(self._kafka)
        return not kept

    def stopped(self) -> None:
        """The broker has ended by itself after everything that writes: this run has lost nothing of its log.

        What a run before it took is still to be judged where this one was interrupted before it had looked.
        """
        if self._judged:
            (self._data / CLEAN).touch()

    def _open(self, found: Mapping[int, int], lost: Mapping[int, int], clean: bool) -> None:
        *older, last = read_logs(self.path)
        why = (
            "the broker was stopped cleanly, but its log is shorter"
            if clean
            else "the broker ended without a clean stop"
        )
        closed = msgspec.structs.replace(
            last, ends=dict(found), lost=dict(lost), partitions=max(len(found), last.partitions)
        )
        fresh = LogIdentity(
            log_id=uuid4().hex, starts=dict(found), partitions=closed.partitions, why=why, opened_ns=time.time_ns()
        )
        self._write([*older, closed, fresh])
        where = ", ".join(f"{count:,} in partition {p}" for p, count in sorted(lost.items()))
        told = (
            f"{sum(lost.values()):,} acknowledged records are lost ({where})"
            if lost
            else "no acknowledged record is lost"
        )
        self._tell(f"{why}: {told}; log {last.log_id} ends here and {fresh.log_id} begins")

    def _write(self, logs: list[LogIdentity]) -> None:
        write_logs(self.path, logs)

    def _older(self) -> str:
        """The id that versions before this one kept."""
        with suppress(FileNotFoundError):
            return (self._data / OLD_FILE).read_text(encoding="ascii").strip()
        return ""

    def _ends(self) -> dict[int, int]:
        """Partition to the next offset of the events log; nothing where the topic is gone."""
        config = client_config(self._kafka)
        try:
            topics = AdminClient(config).list_topics(timeout=ANSWER_S).topics
            if EVENTS.name not in topics:
                return {}
            consumer = Consumer({**config, **READER})
            try:
                return {
                    partition: consumer.get_watermark_offsets(TopicPartition(EVENTS.name, partition), timeout=ANSWER_S)[
                        1
                    ]
                    for partition in topics[EVENTS.name].partitions
                }
            finally:
                consumer.close()
        except KafkaException as error:
            raise BackendError(f"the embedded broker does not say where its log ends: {error.args[0].str()}") from error
