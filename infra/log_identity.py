"""Which log we read: offsets mean something only together with the identity of their log (ADR 9).

On Kafka it is the topic's id, and one log is all there is. The embedded broker loses the end of its log when it is killed and
gives those offsets out again: there a log is a stretch of the topic, closed at the end that was found, and the next one
begins under a new id (`infra.embedded.log_keeper` writes them down).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from infra.kafka import topic_id
from infra.kafka_log import KafkaLog, end_offsets
from infra.private import private_folder
from infra.settings import Kafka
from schemas.errors import LogError
from schemas.topics import EVENTS

FILE: Final = "logs.json"


class LogIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One log: its id and the offsets it covers, by partition; a partition that is not named begins at 0.

    `ends`: next offset behind the last record, None while the log is the current one. `lost`: how many records that had
    been acknowledged were gone when it was closed. `partitions`: 0 where nobody has counted them yet.
    """

    log_id: str
    topic: str = EVENTS.name
    partitions: int = 0
    starts: Mapping[int, int] = {}
    ends: Mapping[int, int] | None = None
    lost: Mapping[int, int] = {}
    why: str = ""
    opened_ns: int = 0

    def start(self, partition: int) -> int:
        """First offset of this log in a partition."""
        return self.starts.get(partition, 0)

    def end(self, partition: int) -> int | None:
        """Next offset behind the last record of a closed log; None where it still grows."""
        return None if self.ends is None else self.ends.get(partition, 0)


_DECODER: Final = msgspec.json.Decoder(list[LogIdentity])


def read_logs(path: Path) -> list[LogIdentity]:
    """The logs of a file, oldest first; none where there is no file. `LogError` for one that cannot be read."""
    try:
        return _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as error:
        raise LogError(
            f"{path}: expected the list of logs, found something else ({error}); without it nobody knows which offsets were "
            "read: take it from a backup, or start with `tickwire up --fresh`"
        ) from error


def write_logs(path: Path, logs: Sequence[LogIdentity]) -> None:
    """Replace the file as a whole."""
    private_folder(path.parent)
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(list(logs)), indent=1) + b"\n")
    draft.replace(path)


def all_logs(kafka: Kafka) -> Sequence[LogIdentity]:
    """Every log whose records may still be on the broker, oldest first; the last is the current one."""
    if kafka.log_file is not None:
        logs = read_logs(kafka.log_file)
        if not logs:
            raise LogError(
                f"{kafka.log_file}: expected the logs of the embedded broker, found nothing; is `up` running?"
            )
        return logs
    return [LogIdentity(log_id=kafka.log_id or topic_id(kafka), partitions=kafka.partitions)]


def current_log(kafka: Kafka) -> LogIdentity:
    """The log that grows: what is written now belongs to it."""
    return all_logs(kafka)[-1]


def reader_of(
    kafka: Kafka, log: LogIdentity, partitions: Sequence[int] | None = None, known: Mapping[int, int] | None = None
) -> KafkaLog:
    """Reads one log and nothing of its neighbours; all partitions where none are named.

    known: by partition, the offset behind the newest record that our history holds.
    """
    chosen = range(kafka.partitions) if partitions is None else partitions
    return KafkaLog(kafka, log.log_id, list(chosen), starts=log.starts, ends=log.ends, known=known or {})


def spans(kafka: Kafka, log: LogIdentity) -> dict[int, tuple[int, int]]:
    """Partition to (first offset, next offset) of what the broker now holds of this log."""
    found = {}
    for partition, (low, high) in end_offsets(kafka).items():
        end = log.end(partition)
        first, until = max(low, log.start(partition)), high if end is None else min(high, end)
        first = first if end is None else min(first, end)
        found[partition] = (first, max(first, until))
    return found
